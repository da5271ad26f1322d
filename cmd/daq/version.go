package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/converter"
)

func newVersion(t *terminal) *cobra.Command {
	return &cobra.Command{
		Use:                   "version",
		Short:                 "Print the version",
		Example:               "  daq version",
		Args:                  arguments(),
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(t.out, "daq", version())
			return err
		},
	}
}

func version() string {
	return fmt.Sprintf("%s (%s, %s/%s)", converter.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
