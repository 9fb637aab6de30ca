"""Configurations with s3 sources, and the keys that the test servers know."""

import os

# The tests must not use the keys and settings of the person who runs them.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}

# From Amazon's documentation, so clearly not real ones.
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

NOTHING = {"AWS_EC2_METADATA_DISABLED": "true"}  # an environment without keys


def environment(access_key=ACCESS_KEY, secret_key=SECRET_KEY, token=None):
    """An environment with keys."""
    keys = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    return {**NOTHING, **keys, **({"AWS_SESSION_TOKEN": token} if token else {})}


def profile(access_key=ACCESS_KEY, secret_key=SECRET_KEY, token=None, name="default"):
    """A section of a credentials file."""
    lines = [f"[{name}]", f"aws_access_key_id = {access_key}", f"aws_secret_access_key={secret_key}"]
    return "\n".join(lines + ([f"aws_session_token={token}"] if token else [])) + "\n"


def quoted(value):
    """A value for a configuration, in single quotes because double quotes expand ${…}."""
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def source(bucket, key, endpoint=None, **options):
    """An s3 { … } block; options that are None are omitted."""
    options = {"bucket": bucket, "key": key, "endpoint": endpoint, **options}
    given = (f"{name} = {quoted(value)}" for name, value in options.items() if value is not None)
    return f"s3 {{ {' '.join(given)} }}"


def term(*sources, name="t", options="refresh_interval = 10m"):
    return f"term {quoted(name)} {{ {options} {' '.join(sources)} }}\n"
