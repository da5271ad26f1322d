package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/daq-sr/daq/internal/atomicfile"
	"github.com/daq-sr/daq/internal/report"
)

// checkOutput finds what would keep a file from being written in the end, before
// the work begins. inputs are the files that the command reads.
func checkOutput(path string, overwrite bool, inputs ...string) error {
	dir := filepath.Dir(path)
	if err := checkFolder(dir); err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder: give the name of a file", path)
	case !overwrite:
		for _, in := range inputs {
			if other, err := os.Stat(in); err == nil && os.SameFile(info, other) {
				return fmt.Errorf("%s is what the command reads: choose another name, or give --overwrite to replace it", path)
			}
		}
		return fmt.Errorf("%s exists: choose another name, or give --overwrite to replace it", path)
	case !info.Mode().IsRegular() || isLink(path):
		// Outputs are written beside and renamed, which would replace a device or
		// a link itself and not what it stands for.
		return fmt.Errorf("%s is a link or a device, not a file: give the name of a file", path)
	}
	return nil
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// checkFolder says whether files can be made in a folder.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("folder %s does not exist: create it first", dir)
	case errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case err != nil:
		return err
	}
	f, err := os.CreateTemp(dir, ".daq.*")
	if err != nil {
		return fmt.Errorf("cannot write into folder %s: %w", dir, err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// checkOutputs is checkOutput of several files, which must differ; empty names
// are flags not given.
func checkOutputs(overwrite bool, outputs, inputs []string) error {
	seen := map[string]bool{}
	for _, path := range outputs {
		if path == "" {
			continue
		}
		if clean := filepath.Clean(path); seen[clean] {
			return usagef("%s is named for two outputs: choose different names", path)
		} else {
			seen[clean] = true
		}
		if err := checkOutput(path, overwrite, inputs...); err != nil {
			return err
		}
	}
	return nil
}

// fileSize returns the size of a file for a table, "?" when it is gone.
func fileSize(path string) string {
	if n := fileBytes(path); n > 0 {
		return report.Bytes(n)
	}
	return "?"
}

func fileBytes(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func writeFile(path string, data []byte) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
