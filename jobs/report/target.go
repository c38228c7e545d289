package report

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

// Target is a job or a step as people name it.
type Target struct {
	store.Query
	Step string // empty: the whole job
}

// ParseTarget reads `10707`, `10707.2`, `10707.batch`, the task `10707_4` of an array or `10707_4.0` of its step, the
// component `10707+1` of a heterogeneous job, and any of them behind a scheduler: `slurm/10707.2`, `oar/123`, `exec/4242`.
func ParseTarget(s string) (Target, error) {
	t, err := parseTarget(s)
	if err != nil {
		return Target{}, fmt.Errorf("job %q: %w", cut(printable(s), 80), err)
	}
	return t, nil
}

func parseTarget(s string) (t Target, err error) {
	rest := s
	if scheduler, name, ok := strings.Cut(s, "/"); ok {
		if !isWord(scheduler) {
			return t, errors.New("want a scheduler before the slash, such as slurm/10707")
		}
		t.Scheduler, rest = scheduler, name
	}
	if name, step, ok := strings.Cut(rest, "."); ok {
		if step == "" || strings.Trim(step, wordBytes+"+") != "" {
			return t, errors.New("want a step after the dot, such as 10707.2 or 10707.batch")
		}
		rest, t.Step = name, step
	}
	if strings.ContainsAny(rest, "[]") {
		return t, errors.New("one task at a time, such as 10707_4")
	}
	// Only Slurm has arrays and components; the names of others may have these characters in them.
	if t.Scheduler == "" || t.Scheduler == "slurm" {
		if rest, t.ArrayTask, err = part(rest, "_", "the index of an array's task, such as 10707_4"); err != nil {
			return t, err
		}
		if rest, t.HetOffset, err = part(rest, "+", "the number of a component, such as 10707+1"); err != nil {
			return t, err
		}
		if t.ArrayTask != "" && t.HetOffset != "" {
			return t, errors.New("want a task or a component, not both")
		}
		if t.Name = rest; !isNumber(rest) && (!isWord(rest) || !isLetter(rest[0])) {
			return t, errors.New("want a job's number, such as 10707, or 10707.2 for its step 2")
		}
		return t, nil
	}
	if t.Name = rest; rest == "" || strings.Trim(rest, wordBytes+"+:@") != "" {
		return t, fmt.Errorf("want a job's name after %s/", t.Scheduler)
	}
	return t, nil
}

// part cuts the number after a separator off.
func part(s, separator, want string) (rest, number string, err error) {
	rest, number, ok := strings.Cut(s, separator)
	if ok && !isNumber(number) {
		return "", "", errors.New("want " + want)
	}
	return rest, number, nil
}

// wordBytes are what names of schedulers, steps and jobs are made of.
const wordBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

func isWord(s string) bool { return s != "" && strings.Trim(s, wordBytes) == "" }

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isLetter(c byte) bool { return 'a' <= c|' ' && c|' ' <= 'z' }
