"""The figures of studies as PDF, for papers."""

from collections.abc import Mapping


def pdfs(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """`NAME.pdf` of each study's `NAME.svg` among the files of a report."""
    import vl_convert  # other reports leave drawing to another process, and need not load it

    return {
        f"{name.removesuffix('.svg')}.pdf": vl_convert.svg_to_pdf(image.decode())
        for name, image in files.items()
        if name.startswith("figures/study-") and name.endswith(".svg")
    }
