package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes, as every help text states them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line that cannot be right.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// interrupted is a stop that left work to go on with: it says how.
type interrupted string

func (i interrupted) Error() string { return "interrupted: " + string(i) }

// execute runs one command line and returns its exit code. What a command gives
// goes to stdout; bars, notes and the one line of an error to stderr.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &output{Writer: stdout}
	root := newRoot(&terminal{out: out, err: stderr})
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.failed
	}
	switch usage := (usageError{}); {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "daq: %s\n", oneLine(err.Error()))
		return exitUsage
	case ctx.Err() != nil && !errors.As(err, new(interrupted)):
		fmt.Fprintln(stderr, "daq: interrupted")
	default:
		fmt.Fprintf(stderr, "daq: %s\n", oneLine(err.Error()))
	}
	return exitFailed
}

func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// output remembers that writing failed, so that a full disk behind a redirection
// does not look like success.
type output struct {
	io.Writer
	failed error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && o.failed == nil {
		o.failed = fmt.Errorf("cannot write the result: %w", err)
	}
	return n, err
}

const intro = `daq makes super-resolution networks small: it takes a network exported to ONNX,
stores weights and feature maps in 2 to 8 bits without any training, and proves
on your pictures that it still works. What comes out is an ONNX file again.`

const firstSteps = `  daq demo -o demo                                        try it: network and pictures are built in
  daq quantize edsr.onnx -o edsr_4bit.onnx --calib photos --bits 4
  daq validate edsr.onnx edsr_4bit.onnx --data Set5 --html report.html`

func newRoot(t *terminal) *cobra.Command {
	cobra.EnableCommandSorting = false // the order of a first use
	root := &cobra.Command{
		Use:           "daq",
		Short:         "Super-resolution networks of 2 to 8 bits, without training",
		Long:          intro,
		Example:       firstSteps,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that RunE words the error
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q: %s", args[0], didYouMean(cmd, args[0], "", cmd))
			}
			return cmd.Help()
		},
	}
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.IntVar(&t.threads, "threads", 0, "`number` of worker threads; 0 is one for each processor")
	flags.BoolVarP(&t.quiet, "quiet", "q", false, "no progress bars and no notes")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if t.threads < 0 || t.threads > maxThreads {
			return usagef("--threads %d: want 0 to %d", t.threads, maxThreads)
		}
		return nil
	}
	root.AddCommand(
		newQuantize(t), newValidate(t), newCompare(t), newUpscale(t), newCalibrate(t), newSensitivity(t), newPlan(t), newInspect(t), newLint(t), newBench(t), newDemo(t), newVersion(t),
	)
	root.SetHelpCommand(newHelp(root))
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetVersionTemplate("daq {{.Version}}\n")
	root.SetHelpTemplate(helpTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		unknown := &pflag.NotExistError{}
		if errors.As(err, &unknown) {
			name := unknown.GetSpecifiedName()
			if len(name) == 1 {
				return usagef("unknown flag -%s: see %s --help", name, cmd.CommandPath())
			}
			return usagef("unknown flag --%s: %s", name, didYouMean(flagNames(cmd), name, "--", cmd))
		}
		return usagef("%v", err)
	})
	return root
}

// newHelp replaces cobra's, which takes any word for a topic.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:                   "help COMMAND",
		Short:                 "Show the help of a command",
		Example:               "  daq help quantize",
		Hidden:                true,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("unknown command %q: %s", args[0], didYouMean(root, args[0], "", root))
			}
			cmd.InitDefaultHelpFlag() // as if it were executed
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}

const maxThreads = 1024

// didYouMean names the child of names that was probably meant, or else the help.
func didYouMean(names *cobra.Command, typed, prefix string, cmd *cobra.Command) string {
	names.SuggestionsMinimumDistance = 2
	if found := names.SuggestionsFor(typed); len(found) > 0 {
		return fmt.Sprintf("did you mean %s%s?", prefix, found[0])
	}
	return "see " + cmd.CommandPath() + " --help"
}

// flagNames returns a command that has the flags of cmd as children, because
// cobra suggests commands only.
func flagNames(cmd *cobra.Command) *cobra.Command {
	names := &cobra.Command{}
	add := func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names
}

// arguments checks the number of arguments; want names them for the message.
func arguments(want ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(want):
			return usagef("%s is missing: %s", want[len(args)], cmd.UseLine())
		case len(args) > len(want):
			return usagef("%q is one argument too many: %s", args[len(want)], cmd.UseLine())
		}
		return nil
	}
}

// oneOf checks a flag with named values.
func oneOf(flag, value string, values ...string) error {
	if slices.Contains(values, value) {
		return nil
	}
	return usagef("--%s %q: want %s", flag, value, strings.Join(values, ", "))
}

// boundsBroken is the annotation of a command that exits with 1 for another reason
// than that its work failed: which.
const boundsBroken = "bounds"

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if .HasParent}}Usage:
  {{.UseLine}}

{{end}}{{if .HasExample}}Examples:
{{.Example}}

{{end}}{{if .HasAvailableSubCommands}}Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}

{{end}}{{if .HasAvailableLocalFlags}}Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}

{{end}}{{if .HasAvailableInheritedFlags}}Flags of all commands:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}

{{end}}Exit codes:
  0  done
  1  the work failed{{with index .Annotations "bounds"}} or {{.}}{{end}}; one line on stderr says why
  2  wrong usage: unknown command or flag, missing argument, value out of range
{{if .HasAvailableSubCommands}}
"daq COMMAND --help" tells more about a command.
{{end}}`
