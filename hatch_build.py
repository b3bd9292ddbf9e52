"""What a wheel has besides the packages: ``conf/`` and ``assets/``, which lie beside them in a checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Folders(BuildHookInterface):
    """Put both into ``mirage_pl/``; an editable installation finds them in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Tell the builder, which calls this before it builds.

        Args:
            version: ``standard`` or ``editable``.
            build_data: of hatchling.
        """
        if version != "editable":
            build_data["force_include"] |= {name: f"mirage_pl/{name}" for name in ("conf", "assets")}
