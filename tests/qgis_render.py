"""Open a project in QGIS without a screen and draw its layers; run by the Python that has QGIS.

The arguments are the project and a folder. It writes a PNG there of each layer in each of its
styles, pixel for pixel, and prints what it finds as JSON.
"""

import json
import os
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsProject
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def draw(layer, project, file):
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(project.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(layer.width(), layer.height()))
    settings.setBackgroundColor(QColor(255, 255, 255))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    if job.errors():
        raise SystemExit(f"{file}: {job.errors()[0].message}")
    job.renderedImage().save(file)


application = QgsApplication([], False)
application.initQgis()
project = QgsProject.instance()
read = project.read(sys.argv[1])
layers = []
for node in project.layerTreeRoot().findLayers():
    layer = node.layer()
    if layer is None or not layer.isValid():
        layers.append({"name": node.name(), "valid": False})
        continue
    styles = layer.styleManager().styles()
    for style in styles:
        layer.styleManager().setCurrentStyle(style)
        draw(layer, project, f"{sys.argv[2]}/{layer.name()}, {style}.png")
    layers.append(
        {
            "name": node.name(),
            "valid": True,
            "shown": node.itemVisibilityChecked(),
            "source": layer.source(),
            "styles": styles,
            "legend": [item[0] for item in layer.legendSymbologyItems()],
        }
    )
print(
    json.dumps(
        {
            "read": read,
            "title": project.title(),
            "crs": project.crs().authid(),
            "relative": project.filePathStorage() == 1,
            "layers": layers,
        }
    )
)
application.exitQgis()
