// Command alumet-job tells what the jobs of this node used, from the books that alumet-agent keeps: reports of jobs and
// steps, lists of jobs, and replays of recorded traces.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "unreleased"

// Exit codes beside 0.
const (
	exitFailure = 1
	exitUsage   = 2
	exitUnknown = 3
)

const exitCodes = `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such job or step.`

func main() {
	os.Exit(run(os.Args[1:], surroundings{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, now: time.Now, zone: time.Local,
	}))
}

// surroundings are what the program sees of the world, so that tests can give it another.
type surroundings struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time
	zone     *time.Location
}

// run is the program; it returns the exit code.
func run(args []string, s surroundings) int {
	started := false
	root := newRootCommand(&s)
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	fmt.Fprintf(s.err, "alumet-job: %v\n", err)
	var failed *failure
	if errors.As(err, &failed) {
		return failed.code
	}
	if !started { // what is wrong was found in the arguments
		fmt.Fprintf(s.err, "Try '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailure
}

func newRootCommand(s *surroundings) *cobra.Command {
	root := &cobra.Command{
		Use:   "alumet-job",
		Short: "Tell what the batch jobs of this node used, in joules",
		Long: `alumet-job reads the books that alumet-agent keeps on this node: the energy of
every job and step, by sensor, and where the rest went.

` + exitCodes,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newReportCommand(s), newListCommand(s), newReplayCommand())
	return root
}

// failure is an error with an exit code of its own.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(err error) error { return &failure{exitUsage, err} }
