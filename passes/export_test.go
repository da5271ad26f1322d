package passes

// Without leaves parts of calibration and rounding out.
var Without = &without
