// Package trace writes down what a ledger was told and replays it through the same ledger: for audits, for another
// policy after the fact, for tests. A trace is one JSON object a line; the format is described in DESIGN.md of package jobs.
package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// Writer writes events as lines. Its methods are not safe for concurrent use.
type Writer struct {
	w      *bufio.Writer
	buf    []byte
	err    error
	offset int64
}

// NewWriter makes a writer to w, which stands at offset. Lines reach w at the latest at Flush.
func NewWriter(w io.Writer, offset int64) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, 64<<10), offset: offset}
}

// Offset is where the trace ends, with what was not flushed yet.
func (w *Writer) Offset() int64 { return w.offset }

// Write writes one event. The first error is kept and returned by Flush.
func (w *Writer) Write(e *jobs.Event) {
	w.buf = appendEvent(w.buf[:0], e)
	w.offset += int64(len(w.buf))
	if _, err := w.w.Write(w.buf); err != nil && w.err == nil {
		w.err = err
	}
}

// Flush passes on what was written.
func (w *Writer) Flush() error {
	if err := w.w.Flush(); err != nil && w.err == nil {
		w.err = err
	}
	return w.err
}

func appendEvent(b []byte, e *jobs.Event) []byte {
	b = append(b, `{"type":"`...)
	b = append(b, e.Type.String()...)
	b = append(b, '"')
	if e.Type == jobs.EventMachine {
		b = append(b, `,"cpus":`...)
		text, _ := json.Marshal(e.Machine) // numbers only: cannot fail
		return append(append(b, text...), "}\n"...)
	}
	b = appendInt(b, "t", e.T)
	switch e.Type {
	case jobs.EventSensor:
		b = appendSensor(b, e)
	case jobs.EventHolders:
		b = appendText(b, "sensor", e.Sensor)
		b = append(b, `,"jobs":`...)
		text, _ := json.Marshal(append([]string{}, e.Jobs...))
		b = append(b, text...)
	case jobs.EventBusy:
		b = appendInt(b, "socket", int64(e.Socket))
		b = appendUint(b, "cpu_ns", e.CPUNs)
	case jobs.EventParent:
		b = appendUint(b, "cpu_ns", e.CPUNs)
	case jobs.EventFloor:
		b = appendText(b, "sensor", e.Sensor)
		b = appendMicro(b, "watts", e.UW)
	case jobs.EventBegin, jobs.EventFound, jobs.EventUsage, jobs.EventCPUs, jobs.EventEnd:
		b = appendGroup(b, e)
	}
	return append(b, "}\n"...)
}

func appendSensor(b []byte, e *jobs.Event) []byte {
	b = appendText(b, "sensor", e.Sensor)
	if e.Socket >= 0 {
		b = appendInt(b, "socket", int64(e.Socket))
	}
	if e.IsPower {
		b = appendMicro(b, "watts", e.UW)
	} else {
		b = appendUint(b, "uj", e.UJ)
	}
	if e.Limits.RangeUJ > 0 {
		b = appendUint(b, "range_uj", e.Limits.RangeUJ)
	}
	if e.Limits.MaxUW > 0 {
		b = appendMicro(b, "max_watts", e.Limits.MaxUW)
	}
	if e.Limits.MaxGapNs > 0 {
		b = appendInt(b, "max_gap_ns", e.Limits.MaxGapNs)
	}
	return b
}

func appendGroup(b []byte, e *jobs.Event) []byte {
	b = appendText(b, "job", e.Job)
	if e.Step != "" {
		b = appendText(b, "step", e.Step)
	}
	if e.HasCPUs {
		b = append(b, `,"cpus":[`...)
		for i, c := range e.CPUs {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(c), 10)
		}
		b = append(b, ']')
	}
	if e.HasCPUNs {
		b = appendUint(b, "cpu_ns", e.CPUNs)
	}
	if e.By != "" {
		b = appendText(b, "by", e.By)
	}
	return b
}

func appendKey(b []byte, key string) []byte {
	return append(append(append(b, `,"`...), key...), `":`...)
}

func appendInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(appendKey(b, key), v, 10)
}

func appendUint(b []byte, key string, v uint64) []byte {
	return strconv.AppendUint(appendKey(b, key), v, 10)
}

func appendText(b []byte, key, v string) []byte {
	text, _ := json.Marshal(v) // a string: cannot fail
	return append(appendKey(b, key), text...)
}

// appendMicro writes a number of millionths as a decimal number of units.
func appendMicro(b []byte, key string, v uint64) []byte {
	b = strconv.AppendUint(appendKey(b, key), v/1e6, 10)
	if rest := v % 1e6; rest > 0 {
		digits := fmt.Sprintf(".%06d", rest)
		b = append(b, bytes.TrimRight([]byte(digits), "0")...)
	}
	return b
}

// line is a line of a trace as JSON has it. Pointers tell what is there.
type line struct {
	Type   string          `json:"type"`
	T      *int64          `json:"t"`
	CPUs   json.RawMessage `json:"cpus"`
	Sensor string          `json:"sensor"`
	Socket *int            `json:"socket"`
	UJ     *uint64         `json:"uj"`
	Watts  json.Number     `json:"watts"`
	Range  uint64          `json:"range_uj"`
	Max    json.Number     `json:"max_watts"`
	MaxGap int64           `json:"max_gap_ns"`
	Jobs   []string        `json:"jobs"`
	CPUNs  *uint64         `json:"cpu_ns"`
	Job    string          `json:"job"`
	Step   string          `json:"step"`
	By     string          `json:"by"`
}

// Parse reads one line into e, which it overwrites. Unknown keys are ignored; an unknown type, a missing key or a number
// out of range is an error.
func Parse(text []byte, e *jobs.Event) error {
	var n line
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	typ, err := jobs.ParseEventType(n.Type)
	if err != nil {
		return err
	}
	*e = jobs.Event{Type: typ, Sensor: n.Sensor, Job: n.Job, Step: n.Step, Jobs: n.Jobs, By: n.By, Socket: -1,
		Limits: jobs.Limits{RangeUJ: n.Range, MaxGapNs: n.MaxGap}}
	if typ == jobs.EventMachine {
		return unmarshal(n.CPUs, &e.Machine, "cpus")
	}
	if n.T == nil {
		return fmt.Errorf("%s line without t", typ)
	}
	e.T = *n.T
	if n.Socket != nil {
		if e.Socket = *n.Socket; e.Socket < 0 {
			return fmt.Errorf("socket %d is negative", e.Socket)
		}
	}
	if n.CPUNs != nil {
		e.CPUNs, e.HasCPUNs = *n.CPUNs, true
	}
	if len(n.CPUs) > 0 {
		e.HasCPUs = true
		if err := unmarshal(n.CPUs, &e.CPUs, "cpus"); err != nil {
			return err
		}
	}
	return complete(&n, e)
}

// complete fills and checks what depends on the type.
func complete(n *line, e *jobs.Event) (err error) {
	switch e.Type {
	case jobs.EventSensor:
		if (n.UJ == nil) == (n.Watts == "") {
			return fmt.Errorf("sensor line needs either uj or watts")
		}
		if n.Max != "" {
			if e.Limits.MaxUW, err = micro(n.Max); err != nil {
				return fmt.Errorf("max_watts: %w", err)
			}
		}
		if n.UJ != nil {
			e.UJ = *n.UJ
			return nil
		}
		e.IsPower = true
		fallthrough
	case jobs.EventFloor:
		if e.UW, err = micro(n.Watts); err != nil {
			return fmt.Errorf("watts: %w", err)
		}
	case jobs.EventBusy, jobs.EventParent, jobs.EventFound, jobs.EventUsage:
		if n.CPUNs == nil {
			return fmt.Errorf("%s line without cpu_ns", e.Type)
		}
		if e.Type == jobs.EventBusy && n.Socket == nil {
			return fmt.Errorf("busy line without socket")
		}
	case jobs.EventHolders:
		if e.Sensor == "" {
			return fmt.Errorf("holders line without sensor")
		}
	}
	return nil
}

func unmarshal(raw json.RawMessage, to any, key string) error {
	if len(raw) == 0 {
		return fmt.Errorf("no %s", key)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// micro reads a decimal number of units as millionths; more than six decimals are refused.
func micro(n json.Number) (uint64, error) {
	_, exponent, _ := strings.Cut(strings.ToLower(string(n)), "e")
	if len(n) > 40 || len(exponent) > 3 { // no real figure is longer, and an exponent could ask for gigabytes of digits
		return 0, fmt.Errorf("number %.20s is too long, or its exponent is", n)
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || f < 0 || f > 1e12 {
		return 0, fmt.Errorf("number %q is missing, negative or too large", n)
	}
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		return 0, fmt.Errorf("number %q is malformed", n)
	}
	r.Mul(r, big.NewRat(1e6, 1))
	if !r.IsInt() {
		return 0, fmt.Errorf("number %s has more than six decimals", n)
	}
	return r.Num().Uint64(), nil
}

// ParseMicro reads a decimal number of watts, as in `31.5`, as µW.
func ParseMicro(s string) (uint64, error) { return micro(json.Number(s)) }

// Replay tells l every line of r and settles. An error names the line.
func Replay(r io.Reader, l *jobs.Ledger) error {
	in := bufio.NewReaderSize(r, 256<<10)
	var e jobs.Event
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if len(bytes.TrimSpace(text)) > 0 {
			if perr := Parse(text, &e); perr != nil {
				if err == io.EOF && text[len(text)-1] != '\n' {
					return fmt.Errorf("line %d: the trace ends in the middle of a line: %w", n, perr)
				}
				return fmt.Errorf("line %d: %w", n, perr)
			}
			if perr := l.Apply(&e); perr != nil {
				return fmt.Errorf("line %d: %w", n, perr)
			}
		}
		if err == io.EOF {
			l.SettleAll()
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}
