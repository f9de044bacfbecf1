"""Execute the tutorials that download real data, and store what they show.

python docs/store_tutorials.py
"""

from __future__ import annotations

import os
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).parents[1] / "tutorials"

if __name__ == "__main__":
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # of tqdm, where ipywidgets is missing
    for name in ["kidney_biopsies", "leukaemia"]:
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": str(FOLDER)}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            if "remove-stderr" in cell.metadata.get("tags", []):  # not shown, and differs from run to run
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        nbformat.write(notebook, path)
        print(f"stored {path}")
