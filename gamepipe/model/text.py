"""What no text from people may hold: no database and no process takes it."""


def flaw(text: str) -> str:
    """What is wrong with it, and what to do; "" for a plain text. Never the text itself."""
    if "\0" in text:
        return "holds a zero character: remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode: remove the half characters (surrogates)"
    return ""
