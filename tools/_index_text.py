"""What index.py and search.py tell people."""

from __future__ import annotations

from typing import Any

from latenthash.index import DEFAULT_CANDIDATES, Address
from latenthash.index.checkup import Copy
from latenthash.index.health import Health


def contents(index: Address, facts: dict[str, Any]) -> str:
    """What an index holds."""
    classes = ", ".join(facts["classes"][:12]) + (", …" if len(facts["classes"]) > 12 else "")
    removed = f"; {facts['removed']:,} removed ones wait for compact" if facts["removed"] else ""
    rows = {
        "images": f"{facts['images']:,}{removed}",
        "segments": ", ".join(
            f"{part['name']} ({part['images']:,} images, {part['buckets']:,} buckets)"
            for part in facts["segments"]
        ),
        "codes": f"{facts['bits']} bits of {facts['net']}",
        "features": f"{facts['dim']}-d {facts['storage']}{loss(facts['feature_loss'])}",
        "classes": f"{len(facts['classes'])}: {classes}" if classes else "none",
        "photos": facts["root"] or "from no folder",
        "size": "" if facts["bytes"] is None else f"{facts['bytes'] / 1e6:,.1f} MB",
    }
    lines = [f"{index}, generation {facts['generation']}"]
    lines += [f"  {name:<9} {text}" for name, text in rows.items() if text]
    return "\n".join(lines)


def left_out(duplicates: list[tuple[str, str]], most: int = 10) -> list[str]:
    """Images that were not added, and which they equal."""
    if not duplicates:
        return []
    lines = [f"{len(duplicates):,} left out, their content is in the index already:"]
    lines += [f"  {name} is {other}" for name, other in duplicates[:most]]
    rest = len(duplicates) - most
    return [*lines, f"  and {rest:,} more; --json tells all"] if rest > 0 else lines


def loss(measured: dict[str, float]) -> str:
    """What the storage type costs, where it costs anything."""
    if not measured["distance_error"]:
        return ""
    return (
        f", {measured['recall_at_10']:.2%} of the exact ten nearest found, distances off by "
        f"{measured['distance_error']:.3%}"
    )


def measures(health: Health, told: list[str]) -> str:
    """What the codes are worth."""
    median = health.reached(0.5)
    largest = int(health.sizes.max(initial=0))
    goal = min(DEFAULT_CANDIDATES, health.images)
    wanted = health.radius_for(goal)
    radii = sorted({*range(min(5, health.bits + 1)), wanted})
    dead, repeated = (", ".join(map(str, bits)) for bits in (health.dead, health.repeated))
    lines = [
        f"{health.images:,} images, {len(health.sizes):,} distinct codes of {health.bits} bits",
        f"  information    {health.code_entropy:.1f} bits a code; "
        f"{health.entropy.mean():.2f} a bit on average, {health.entropy.min():.2f} the worst",
        f"  independent    the bits are worth {health.independent_bits:.1f} independent ones",
        f"  dead bits      {dead or 'none'}",
        f"  repeated bits  {repeated or 'none'}",
        f"  largest bucket {largest:,} images",
        "  bucket size    buckets     images",
    ]
    lines += [
        f"  {span(row['from'], row['to']):<12} {row['buckets']:>9,}  {row['images']:>9,}"
        for row in health.size_distribution()
    ]
    lines += ["  radius         candidates of the median query"]
    lines += [f"  {radius:<12} {median[radius]:>9,.0f}" for radius in radii]
    return "\n".join([*lines, *(f"warning: {text}" for text in told)])


def span(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,}-{last:,}"


def near_copies(count: int) -> str:
    """Said behind an image that stands for others too."""
    if not count:
        return ""
    return f"  (+{count:,} near-{'copy' if count == 1 else 'copies'})"


def listing(index: Address, groups: list[list[Copy]], most: int, cut: int) -> str:
    """Groups of near-copies."""
    images = sum(len(group) for group in groups)
    lines = [f"{index}: {len(groups)} groups of near-copies, {images} images in them"]
    for group in groups[:most]:
        lines.append(f"  {group[0].name}{near_copies(len(group) - 1)}")
        lines += [f"    {copy.distance:<8.4f} {copy.name}" for copy in group[1:6]]
        lines += [f"    and {len(group) - 6} more"] if len(group) > 6 else []
    if len(groups) > most:
        lines.append(f"  and {len(groups) - most} more groups; --show or --json tells all")
    if cut:
        lines.append(
            f"warning: {cut} buckets are too large to compare wholly; each image there was "
            "compared with those most alike along one direction"
        )
    return "\n".join(lines)
