"""Run every block of the page on models of others in its project's checkout.

python -m tests.models.page --source FOLDER [--only TITLE]
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "model-libraries.md"
# By the first word of a section: the folder in which its block is run, what is imported from, and stand-ins.
WHERE = {
    "Tunix": ("tunix", ".", "tunix"),
    "Gemma": ("flax", "examples/gemma", ""),
    "Bonsai": ("bonsai", ".", ""),
    "MaxText": ("maxtext", "src", "maxtext"),
}


def blocks() -> dict[str, str]:
    """Code of every section, by its first word."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    found = {re.split(r"\W", text)[0]: re.findall(r"```py\n(.*?)```", text, flags=re.DOTALL) for text in sections}
    return {title: "\n".join(code) for title, code in found.items()}


def main() -> None:
    """Run each block in a process of its own, as it stands on the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=pathlib.Path, help="folder of checkouts")
    parser.add_argument("--only", help="first word of a section")
    arguments = parser.parse_args()
    for title, code in blocks().items():
        if arguments.only not in (None, title):
            continue
        project, folder, absent = WHERE[title]
        root = arguments.source.resolve() / project
        # Libraries that the project imports and this model does not need are stood in for, as in its definitions.
        before = f"import tests.models.definitions.{absent}\n" if absent else ""
        paths = [str(PAGE.parents[1]), str(root / folder), str(arguments.source.resolve() / "qwix")]
        environment = os.environ | {"MODELS_SOURCE": str(arguments.source.resolve()), "PYTHONPATH": ":".join(paths)}
        subprocess.run([sys.executable, "-P", "-c", before + code], check=True, cwd=root, env=environment)
        print(f"{title}: runs", flush=True)


if __name__ == "__main__":
    main()
