"""Draw a QGIS project with its legend, as a print layout; run by the Python that has QGIS.

The arguments are the project and the PNG to write.
"""

import os
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qgis.core import (
    QgsApplication,
    QgsLayoutExporter,
    QgsLayoutItemLabel,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsPrintLayout,
    QgsProject,
)
from qgis.PyQt.QtCore import QRectF

_WIDTH, _HEIGHT, _LEGEND = 240, 150, 75  # millimetres

application = QgsApplication([], False)
application.initQgis()
project = QgsProject.instance()
if not project.read(sys.argv[1]):
    raise SystemExit(f"{sys.argv[1]}: QGIS reads no project")
nodes = project.layerTreeRoot().findLayers()
shown = [node.layer() for node in nodes if node.itemVisibilityChecked()]

layout = QgsPrintLayout(project)
layout.initializeDefaults()
layout.pageCollection().page(0).setPageSize(QgsLayoutSize(_WIDTH, _HEIGHT))
drawn = QgsLayoutItemMap(layout)
drawn.attemptSetSceneRect(QRectF(_LEGEND, 12, _WIDTH - _LEGEND - 5, _HEIGHT - 17))
drawn.setLayers(shown)
drawn.zoomToExtent(shown[0].extent())
drawn.setFrameEnabled(True)
layout.addLayoutItem(drawn)
title = QgsLayoutItemLabel(layout)
title.setText(project.title())
title.attemptSetSceneRect(QRectF(5, 4, _WIDTH - 10, 8))
layout.addLayoutItem(title)
legend = QgsLayoutItemLegend(layout)
legend.setLinkedMap(drawn)
legend.setAutoUpdateModel(False)
for node in nodes:
    if node.layer() is not shown[0]:
        legend.model().rootGroup().removeLayer(node.layer())
legend.attemptMove(QgsLayoutPoint(3, 12))
layout.addLayoutItem(legend)
settings = QgsLayoutExporter.ImageExportSettings()
settings.dpi = 130
done = QgsLayoutExporter(layout).exportToImage(sys.argv[2], settings)
if done != QgsLayoutExporter.Success:
    raise SystemExit(f"{sys.argv[2]}: not written ({done})")
application.exitQgis()
