"""Descriptions of the fields and parameters of tags."""

TERMS: dict[str, tuple[str, str]] = {
    "tags": ("Tags", ""),
    "tag_list": ("Tags", ""),
    "key": ("Key of the tag: 1 to 128 characters, without = * < > \\ , | /", '"team"'),
    "tag": ("The tag", ""),
    "action": ("create or delete", '"create"'),
}
