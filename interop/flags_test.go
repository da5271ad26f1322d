//go:build (runtimes || peers || bench) && unix

package interop

import "flag"

// Flags of the long tests, for all tags alike.
var (
	networksFlag = flag.String("networks", "", "regular expression of networks, for bench with bits: ^EDSR_x2/4")
	outFlag      = flag.String("out", "", "folder for tables and the quantized networks")

	// runtimes
	formsFlag    = flag.String("forms", "", "regular expression of forms")
	runtimesFlag = flag.String("runtimes", "", "regular expression of runtimes")

	// peers
	photographsFlag = flag.Int("photographs", 8, "calibration photographs for the comparison of quality")
	limitFlag       = flag.Float64("limit", 10, "GiB that a quantizer may take")

	// bench
	sizesFlag   = flag.String("sizes", "128x128", "heights and widths of the input, such as 128x128,480x270")
	secondsFlag = flag.Float64("seconds", 8, "time for the runs of one network on one number of threads; three rounds are run in any case")
	memoryFlag  = flag.String("memory", "", "also compare the memory that an input of this height and width takes, such as 1080x1920")
	samplesFlag = flag.String("samples", "", "file for every measured time, in the form that benchstat reads")
)
