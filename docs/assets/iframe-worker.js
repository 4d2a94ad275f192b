// Workers for pages that are opened from a disk, where browsers refuse them: the script runs in a
// hidden frame of the page. The theme's search needs no more of a worker than this.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.body.appendChild(document.createElement("iframe"));
      this.frame.hidden = true;
      const { contentWindow: scope, contentDocument: page } = this.frame;
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.loaded = new Promise((done) => {
        const script = page.createElement("script");
        script.onload = done;
        script.src = url;
        page.body.appendChild(script);
      });
    }

    postMessage(data) {
      const scope = this.frame.contentWindow;
      this.loaded.then(() => scope.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
