"""From a region to files: catalogues, rasters, series, classes, products."""

import warnings

# rasterio's rasterize() opens an array without a place, and hides the warning of that by
# catch_warnings, which threads undo for one another. So do filters that are added while another
# thread is within it; this one is there before a process has threads.
warnings.filterwarnings("ignore", "Dataset has no geotransform", module=r"rasterio\.features")
