"""One error with everything that is wrong with a checkpoint."""

LISTED = 20  # names shown per kind of problem


class Problems:
    """Names by kind of problem, which are raised together."""

    def __init__(self):
        self.kinds: dict[str, list[str]] = {}

    def add(self, kind: str, name: str) -> None:
        """Notes that `name` has a problem of that kind."""
        self.kinds.setdefault(kind, []).append(name)

    def raise_any(self, what: str) -> None:
        """Raises ValueError with all problems when there are any; `what` begins the message."""
        if self.kinds:
            lines = []
            for kind, names in self.kinds.items():
                more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
                lines.append(f"{kind} ({len(names)}): {', '.join(sorted(names)[:LISTED])}{more}")
            raise ValueError(f"{what} does not fit the network; " + "; ".join(lines))
