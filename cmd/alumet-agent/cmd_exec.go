package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	program "github.com/alumet-hpc/alumet-hpc/scheduler/exec"
)

// Exit codes of exec for programs that do not run, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // plus the signal's number
)

func newExecCommand(o *options) *cobra.Command {
	ignore := false
	cmd := &cobra.Command{
		Use:   "exec [--ignore-exit-code] PROGRAM [ARGS...]",
		Short: "Start a program, measure while it runs, and stop with it",
		Long: `Exec starts a program and measures until it ends. Everything after PROGRAM
belongs to it, also what begins with a dash. All sources are read right before
the start and right after the end. With the plugin job-energy the program is a
job of its own, and its energy is shown by: alumet-job report exec/PID

Exit codes: the program's own; 128+N when signal N has ended it; 126 when it
cannot be executed, 127 when it is not found.`,
		Example: `  alumet-agent --plugins procfs,csv exec sleep 5
  alumet-agent --plugins tdp-model,job-energy,csv exec make -j4`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := runExec(cmd, o, args)
			var e *exitError
			if ignore && errors.As(err, &e) && e.err == nil {
				return nil
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVar(&ignore, "ignore-exit-code", false, "exit with 0 whatever the program's exit code is")
	return cmd
}

func runExec(cmd *cobra.Command, o *options, args []string) error {
	n, err := openNode(o, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	// Signals are passed on to the program; the agent stops when that has ended.
	ctx, stop := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer stop()
	ready, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- n.run(ctx, func() { close(ready) }) }()
	<-ready
	if err := cmd.Context().Err(); err != nil { // a signal came before there was a program to pass it on to
		stop()
		return errors.Join(errors.New("stopped before the program was started"), <-stopped)
	}
	child := exec.Command(args[0], args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	result := n.observe(ctx, child)
	stop()
	if err := <-stopped; err != nil && result == nil {
		return err
	}
	return result
}

// observe reads everything, runs the child to its end, and reads everything again.
func (n *node) observe(ctx context.Context, child *exec.Cmd) error {
	group, err := program.NewGroup(n.general.Proc)
	if err != nil {
		n.log.Debug("the program gets no control group of its own: its processes are read instead", "reason", err)
		group = nil
	} else {
		defer func() {
			if err := group.Close(); err != nil {
				n.log.Warn("the program's control group cannot be removed", "error", err)
			}
		}()
	}
	f := facts(child) // may ask a directory server: not between the reading and the start
	if err := n.agent.ReadNow(ctx); err != nil {
		return err
	}
	if err := start(child, group); err != nil {
		return notStarted(child.Args[0], err)
	}
	defer forwardSignals(child.Process)()
	pid := child.Process.Pid
	n.log.Info("program started", "program", child.Args[0], "pid", pid)
	var followed *program.Program
	if n.book != nil {
		followed = program.Follow(n.tracker, n.general.Proc, pid, group, f)
	}
	err = child.Wait()
	n.log.Info("program ended", "pid", pid, "status", child.ProcessState)
	if followed != nil {
		followed.End(uint64(child.ProcessState.UserTime() + child.ProcessState.SystemTime()))
		select {
		case <-followed.Told():
		case <-time.After(time.Second):
		}
	}
	if rerr := n.agent.ReadNow(ctx); rerr != nil {
		return rerr
	}
	if followed != nil {
		n.log.Info("see its energy", "command", fmt.Sprintf("alumet-job report %s/%d", program.Scheduler, pid))
	}
	return exitOf(err)
}

// forwardSignals passes SIGINT and SIGTERM on to the process until the returned function is called. Ctrl+C at a terminal
// reaches both by itself.
func forwardSignals(p *os.Process) (stop func()) {
	signals, done := make(chan os.Signal, 4), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for {
			select {
			case s := <-signals:
				if s != syscall.SIGINT || !foreground() {
					_ = p.Signal(s) // it may have ended
				}
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

// foreground tells whether this process is in the foreground of the terminal on its standard input.
func foreground() bool {
	group, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func start(child *exec.Cmd, group *program.Group) error {
	if group == nil {
		return child.Start()
	}
	child.SysProcAttr = &syscall.SysProcAttr{}
	return group.Start(child.SysProcAttr, child.Start)
}

// facts are what is known of a program that the agent has started.
func facts(child *exec.Cmd) jobs.Facts {
	f := jobs.Facts{UID: int64(os.Getuid()), JobName: filepath.Base(child.Path)}
	if u, err := user.Current(); err == nil {
		f.User = u.Username
	}
	return f
}

// notStarted gives the reason why a program does not run the exit code that shells have for it.
func notStarted(name string, err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &exitError{exitNotFound, fmt.Errorf("program %q is not found: give its path if it is not in PATH", name)}
	}
	return &exitError{exitNotExecutable, fmt.Errorf("program %q cannot be executed: %w", name, err)}
}

// exitOf turns the end of the child into the agent's own.
func exitOf(err error) error {
	var e *exec.ExitError
	if !errors.As(err, &e) {
		return err
	}
	if s, ok := e.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return &exitError{code: exitSignal + int(s.Signal())}
	}
	return &exitError{code: e.ExitCode()}
}
