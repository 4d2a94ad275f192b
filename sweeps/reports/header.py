"""What a report says first: the best value and its parameters, the trials, what they took."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from xml.etree.ElementTree import Element

from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.render import duration, number
from sweeps.reports.html import add, element
from sweeps.reports.style import better
from sweeps.reports.tables import app_name, moment
from sweeps.results import SweepResults
from sweeps.results.effort import effort
from sweeps.secrets import masked
from sweeps.storage.lease import seems_driven


def header(sweep: SweepResults) -> Element:
    """The head of the page."""
    head = element("header")
    line = add(head, "p", class_="over")
    add(line, "span", "caviar report")
    state, words = state_of(sweep)
    add(line, "span", state, class_=f"state {state.split()[0]}", title=words)
    add(head, "h1", sweep.record.name)
    add(head, "p", f"{app_name(sweep)} · {words} Written {moment(time.time())}.", class_="quiet")
    cards = add(head, "div", class_="cards")
    _best_card(cards, sweep)
    _trials_card(cards, sweep)
    _time_card(cards, sweep)
    _spent_card(cards, sweep)
    if sweep.best is not None:
        _overrides(head, sweep, sweep.best)
    return head


def state_of(sweep: SweepResults) -> tuple[str, str]:
    """Whether the sweep runs: in a word, and in a sentence."""
    closed = sweep.trials.closed
    if closed is None and seems_driven(sweep.folder.lease):
        return "running", "The sweep still runs: this is how it stood."
    if closed is None:
        return "unfinished", "No driver runs it now, and none ended it: caviar resume goes on."
    if sweep.is_over:
        return "finished", f"The sweep ended {moment(closed.time)}."
    return "interrupted", f"The sweep ended early ({closed.reason}): caviar resume goes on."


def _card(cards: Element, name: str, value: str, *lines: str) -> Element:
    card = add(cards, "div", class_="card")
    add(card, "p", name, class_="name")
    add(card, "p", value, class_="value")
    for line in lines:
        add(card, "p", line, class_="line")
    return card


def _best_card(cards: Element, sweep: SweepResults) -> None:
    best, objective = sweep.best, sweep.objective
    if best is None:
        _card(cards, f"Best {objective.metric}", "none yet", better(objective))
        return
    others = zip(objective.others, best.values[1:], strict=False)
    at = f"trial {best.number}" + (f", step {best.best.step}" if best.best else "")
    lines = [f"{other.metric} {number(value)}" for other, value in others]
    card = _card(
        cards, f"Best {objective.metric}", number(best.value), *lines, at, better(objective)
    )
    card.set("class", "card best")


def _trials_card(cards: Element, sweep: SweepResults) -> None:
    counts = Counter(sweep.status(trial) for trial in sweep.trials)
    total = len(sweep.trials)
    card = _card(cards, "Trials", str(total), f"of {sweep.num_samples} asked for")
    if not total:
        return
    said = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    bar = add(card, "div", class_="bar", role="img", aria_label=said)
    legend = add(card, "p", class_="legend")
    for status in Status:
        if counts[status]:
            share = f"flex-grow:{counts[status]}"
            add(bar, "span", class_=f"part {status}", style=share)
            item = add(legend, "span")
            add(item, "i", class_=f"part {status}", aria_hidden="true")
            add(item, "span", f"{counts[status]} {status}")


def _time_card(cards: Element, sweep: SweepResults) -> None:
    trained = sum(trial.seconds for trial in sweep.trials)
    lines = [f"{duration(trained)} of training in all trials"]
    if sweep.trials.run > 1:
        lines.append(f"by {sweep.trials.run} drivers")
    _card(cards, "Time", duration(sweep.elapsed), *lines)


def _spent_card(cards: Element, sweep: SweepResults) -> None:
    """Steps against what all trials would take in full: to max_t, or as long as the longest."""
    spent, total = effort(sweep), len(sweep.trials)
    word = spent.word.capitalize()
    if not spent.steps:
        _card(cards, word, "none", "no trial reported a step")
        return
    longest = sweep.max_t or max(trial.step for trial in sweep.trials)
    full = total * longest
    _card(
        cards,
        f"{word} spent",
        f"{spent.steps:,}".replace(",", " "),
        f"{spent.steps / full:.0%} of a full grid: {total} x {longest}",
        *([f"of each of {sweep.repeats} repeats"] if sweep.repeats > 1 else []),
        *(() if sweep.max_t else ("the longest trial taken as full",)),
    )


def _overrides(head: Element, sweep: SweepResults, best: Trial) -> None:
    texts = sweep.trials.spaces[best.study].overrides(sweep.values(best))
    block = add(head, "div", class_="overrides")
    add(block, "h2", "The best trial's parameters, as overrides", id="overrides")
    line = add(block, "div", class_="copy")
    code = " ".join(shlex.quote(masked(text)) for text in texts)
    add(add(line, "pre", tabindex="0", aria_labelledby="overrides"), "code", code, id="best")
    add(line, "button", "Copy", type="button", data_copies="best")
    if len(best.best_schedule) > 1:
        words = "A scheduler changed parameters on the way: these are those at its best report."
        add(block, "p", words, class_="quiet")
