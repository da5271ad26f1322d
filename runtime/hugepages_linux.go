package runtime

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// preferHugePages asks for large pages where whole ones fit: planes a power of
// two apart take one entry of the address cache each otherwise. It is advice:
// failing does no harm.
func preferHugePages(b []byte) {
	if len(b) < hugePage {
		return
	}
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % hugePage)
	if whole := (len(b) - skip) / hugePage * hugePage; whole > 0 {
		_ = unix.Madvise(b[skip:skip+whole], unix.MADV_HUGEPAGE)
	}
}
