"""What a film file says about itself: that nobody was filmed, and whose face it is."""

from splatface.models.head.head import HeadInfo

__all__ = ["tags_of"]

# IPTC's word for it, which platforms look for: cv.iptc.org/newscodes/digitalsourcetype
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def tags_of(info: HeadInfo) -> dict[str, str]:
    """Title, comment and copyright; nothing that differs from one making to the next."""
    return {
        "title": f"{info.name} (synthetic)",
        "comment": (
            f"Synthetic media made by splatface: the face is computed, nobody was filmed. {SOURCE_TYPE} "
            "Every picture carries an invisible mark (SPLF)."
        ),
        "copyright": f"face: {info.name}, {info.license}. {info.consent}",
    }
