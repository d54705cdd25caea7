"""What a package index shows: the README with absolute links. All else is in setup.cfg."""

import configparser
import pathlib
import re

from setuptools import setup

ROOT = pathlib.Path(__file__).parent


def readme():
    """Return the README with its relative links made absolute, images to the files themselves."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    urls = dict(re.findall(r"(\w+) = (\S+)", config["metadata"]["project_urls"]))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!\w+:|#)", rf"\1{urls['Source']}/raw/main/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!\w+:|#)", rf"\1{urls['Source']}/blob/main/", text)


setup(long_description=readme(), long_description_content_type="text/markdown")
