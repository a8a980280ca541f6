"""The section of a report about the workers: who was busy when. All text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cellsearch.errors import amount
from cellsearch.reporting.page import table
from cellsearch.reporting.workers import WorkerLine, died

__all__ = ["busy_shares", "workers_section"]

BINS = 120
"""Pieces of time of the picture."""
WORKERS = 32
"""Workers that are shown."""
NAME, ROW, WIDTH = 130, 18, 900


def busy_shares(line: WorkerLine, start: float, end: float, bins: int = BINS) -> list[float]:
    """The share of each of ``bins`` pieces of the time between ``start`` and ``end`` in which a
    worker trained.
    """
    width = (end - start) / bins
    shares = [0.0] * bins
    if not width > 0:
        return shares
    for span in line.spans:
        first = min(bins - 1, max(0, int((span.started - start) / width)))
        last = min(bins - 1, max(0, int((span.ended - start) / width)))
        if first == last:  # nearly all, of many trials
            shares[first] += max(0.0, min(span.ended, end) - max(span.started, start))
            continue
        for k in range(first, last + 1):
            low, high = start + k * width, start + (k + 1) * width
            shares[k] += max(0.0, min(span.ended, high) - max(span.started, low))
    return [min(1.0, share / width) for share in shares]


def workers_section(lines: Sequence[WorkerLine]) -> str:
    """What each worker did; ``""`` before any training ended."""
    found = [line for line in lines if line.spans]
    if not found:
        return ""
    start = min(line.spans[0].started for line in found)
    end = max(line.spans[-1].ended for line in found)
    shown = found[:WORKERS]
    rows = [
        (
            "",
            (
                _name(line),
                f"{len(line.spans):,}",
                duration(line.busy),
                f"{line.busy / (end - start):.0%}" if end > start else "–",
                str(line.deaths),
            ),
        )
        for line in shown
    ]
    columns = [("worker", False), ("trainings", True), ("busy", True), ("of the time", True)]
    more = f" {len(found) - WORKERS} more are not shown." if len(found) > WORKERS else ""
    note = (
        f"{amount(len(found), 'worker')} over {duration(end - start)}, pauses between sittings "
        f"included; the darker, the busier; a mark is a training that ended its process.{more}"
    )
    return (
        f"<h2>Workers</h2><figure>{_picture(shown, start, end)}</figure>"
        f'{table([*columns, ("died", True)], rows)}<p class="soft">{escape(note)}</p>'
    )


def duration(seconds: float) -> str:
    """``41 s``, ``12.3 min``, ``5.1 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _name(line: WorkerLine) -> str:
    return line.worker or "this process"


def _picture(lines: Sequence[WorkerLine], start: float, end: float) -> str:
    height = ROW * len(lines) + 24
    step = (WIDTH - NAME) / BINS
    parts = []
    for k, line in enumerate(lines):
        y = 4 + k * ROW
        name = _name(line)
        name = name if len(name) <= 17 else f"{name[:16]}…"
        parts.append(f'<text x="{NAME - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        parts += [
            f'<rect class="busy" x="{NAME + b * step:.1f}" y="{y}" width="{step + 0.3:.1f}" '
            f'height="{ROW - 4}" fill-opacity="{share:.2f}"/>'
            for b, share in enumerate(busy_shares(line, start, end))
            if share >= 0.005
        ]
        deaths = sorted(
            {
                min(BINS - 1, int((s.ended - start) / max(end - start, 1e-9) * BINS))
                for s in line.spans
                if died(s.failure)
            }
        )
        parts += [
            f'<rect class="death" x="{NAME + (b + 0.5) * step - 1.5:.1f}" y="{y - 1}" width="3" '
            f'height="{ROW - 2}"/>'
            for b in deaths
        ]
    base = 4 + ROW * len(lines) + 12
    parts.append(f'<text x="{NAME}" y="{base}">start</text>')
    parts.append(
        f'<text x="{WIDTH}" y="{base}" text-anchor="end">{escape(duration(end - start))}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Workers over time"><title>Workers over time</title>{"".join(parts)}</svg>'
    )
