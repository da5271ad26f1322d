//go:build !linux

package runtime

func preferHugePages([]byte) {}
