"""Keep the first layers of an OpenVINO model in float32 when the rest is in bfloat16.

A network loses precision mainly in its first layers, because their rounding errors pass through
all others. EfficientNet-Lite0 on 5,421 photos (two Zen 5 cores):

=======================  ==========================  ===================
Layers in bfloat16       Smallest cosine to float32  Pictures per second
=======================  ==========================  ===================
all                      0.9973                      872
all but the early ones   0.9991                      719
none                     1                           462
=======================  ==========================  ===================
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    import openvino

EARLY = 4
"""A layer is early if the side length of its feature map is at least that of a picture / EARLY."""


def mark_early_layers(model: openvino.Model) -> openvino.Model:
    """Copy a model, with its early layers marked to always be computed in float32.

    OpenVINO's Python API cannot set the mark, so it is written into the model's file. A version of
    OpenVINO that does not know the mark ignores it, so compare the vectors of the result.
    """
    import openvino
    from openvino._offline_transformations import apply_moc_transformations

    side: int = model.input().shape[1]
    copy = model.clone()
    # Compiling applies these too, and would create new layers without the mark.
    apply_moc_transformations(copy, cf=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "model.xml"), Path(folder, "model.bin")
        openvino.serialize(copy, *paths)
        document = ElementTree.parse(paths[0])
        for layer in document.iter("layer"):
            if layer.get("type") not in ("Const", "Parameter") and _map_side(layer) >= side / EARLY:
                _mark(layer)
        return openvino.Core().read_model(
            ElementTree.tostring(document.getroot()), paths[1].read_bytes()
        )


def _map_side(layer: ElementTree.Element) -> int:
    """Return the side length of a layer's feature map; 0 if its output is not a map.

    It is the third of four dimensions, whether channels are first or last.
    """
    sides = [int(side.text or 0) for side in layer.iterfind("output/port/dim")]
    return sides[2] if len(sides) == 4 else 0


def _mark(layer: ElementTree.Element) -> None:
    info = layer.find("rt_info")
    if info is None:
        info = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, info)
    ElementTree.SubElement(info, "attribute", name="precise", version="0")
