"""One table, for the terminal and for the documentation."""

from __future__ import annotations

from datetime import date
from pathlib import Path


def print_table(header, rows):
    """Print rows of text in aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def markdown_table(header, rows):
    """The same table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write_markdown(path, title, notes, tables):
    """Write notes and titled tables, with the date, to a file. `tables` holds (title, header, rows)."""
    parts = [f"# {title}", f"Measured on {date.today().isoformat()}.", *notes]
    for name, header, rows in tables:
        parts += [f"## {name}"] if name else []
        parts.append(markdown_table(header, rows))
    Path(path).write_text("\n\n".join(parts) + "\n")


def seconds(value):
    """A time with two significant digits below ten seconds."""
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
