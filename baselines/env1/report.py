def as_text(t):
    return "\n\n".join(f"{k}\n{v.to_string()}" for k, v in t.items())


def write(*a):
    pass
