// Command alumet-agent measures a node: it polls the hardware and the job groups, splits the energy among the jobs, keeps
// the figures and sends the measurements on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "unreleased"

// Exit codes; exec has its program's own.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// exitError ends the program with a code of its own; err may be nil when all is said.
type exitError struct {
	code int
	err  error
}

// Error returns the reason, or the code.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the reason.
func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitUsage, err}
}

// run is the program with its surroundings as arguments. It returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{exitFailure, err}
	}
	if e.err != nil {
		fmt.Fprintf(errOut, "Error: %v\n", e.err)
		if e.code == exitUsage {
			fmt.Fprintln(errOut, "Try: alumet-agent --help")
		}
	}
	return e.code
}

func newRootCommand() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "alumet-agent",
		Short: "Measure this node and say what each batch job's energy was",
		Long: `alumet-agent polls the hardware of this node and the control groups of its batch
jobs, splits the measured energy among the jobs, keeps the figures in a local
store (see alumet-job) and sends the measurements to its outputs. Without a
command it runs until it is stopped.

Exit codes: 0 success; 1 failure; 2 usage; exec: its program's own.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAgent(cmd.Context(), o, cmd.ErrOrStderr())
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	o.addFlags(root)
	root.AddCommand(newRunCommand(o), newExecCommand(o), newConfigCommand(o), newPluginsCommand(o))
	return root
}

// usageArgs makes what is wrong with the arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return usage(check(cmd, args)) }
}
