package csv

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// fixed are the columns that every file has, before those of the attributes; late is the one after them.
var fixed = [...]string{"metric", "timestamp", "value", "resource_kind", "resource_id", "consumer_kind", "consumer_id"}

const late = "__late_attributes"

// flushSize is how much is collected when not every batch is flushed.
const flushSize = 64 << 10

// output formats points and hands them to the file.
type output struct {
	config  Config
	metrics *agent.Registry
	out     *file

	// columns are the places of the attributes' columns, made with the header at the first write.
	columns map[string]int
	// names caches the first column of each metric.
	names map[*agent.Metric][]byte
	// buf holds the formatted lines that are not in the file yet.
	buf []byte

	scratch []byte
	// cells tells for each attribute column which attribute of the current point is in it; -1: none.
	cells []int
	// stamp is the text of the time that was formatted last: all points of a poll have the same.
	stamp     []byte
	stampTime int64
}

func newOutput(c Config, metrics *agent.Registry, log *slog.Logger) *output {
	return &output{
		config: c, metrics: metrics, names: map[*agent.Metric][]byte{},
		out: &file{path: c.OutputPath, maxSize: int64(c.MaxSize), maxFiles: c.MaxFiles, log: log},
	}
}

// Write implements [agent.Output]. When it fails, nothing of the batch is in the file or waits to be written.
func (o *output) Write(ctx context.Context, b *agent.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if o.columns == nil {
		header := o.makeHeader()
		if err := o.out.begin(header); err != nil {
			o.columns = nil
			return err
		}
	}
	before := len(o.buf)
	for i := range b.Points {
		o.line(&b.Points[i])
	}
	if !o.config.ForceFlush && len(o.buf) < flushSize {
		return nil
	}
	if err := o.out.write(o.buf); err != nil {
		o.buf = o.buf[:before]
		return err
	}
	o.buf = o.buf[:0]
	return nil
}

// close writes what is left.
func (o *output) close() error {
	var err error
	if len(o.buf) > 0 {
		err = o.out.write(o.buf)
		o.buf = nil
	}
	return errors.Join(err, o.out.close())
}

// makeHeader decides on the columns: the attributes of all metrics that are defined by now, in bytewise order. An attribute
// with the name of a fixed column gets no column of its own: it is shown among the late ones.
func (o *output) makeHeader() []byte {
	var keys []string
	for _, m := range o.metrics.All() {
		for _, k := range o.metrics.Attributes(m) {
			if k != late && !slices.Contains(fixed[:], k) {
				keys = append(keys, k)
			}
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	o.columns = make(map[string]int, len(keys))
	o.cells = make([]int, len(keys))
	for i, k := range keys {
		o.columns[k] = i
	}
	var header []byte
	for _, k := range slices.Concat(fixed[:], keys) {
		header = append(o.quote(append(header, k...), len(header)), o.config.Delimiter...)
	}
	return append(header, late+"\n"...)
}

// line appends the line of one point to the buffer.
func (o *output) line(p *agent.Point) {
	b := append(o.buf, o.name(p.Metric)...)
	b = append(b, o.config.Delimiter...)
	b = append(b, o.timestamp(p.Time)...)
	b = append(b, o.config.Delimiter...)
	b = p.Value.Append(b)
	for _, s := range [...]string{p.Resource.Kind, p.Resource.ID, p.Consumer.Kind, p.Consumer.ID} {
		b = append(b, o.config.Delimiter...)
		b = o.quote(append(b, s...), len(b))
	}
	o.buf = append(o.attributes(b, p.Attrs.List()), '\n')
}

// attributes appends the columns of the attributes, and the last one with those that have no column.
func (o *output) attributes(b []byte, attrs []agent.Attr) []byte {
	for i := range o.cells {
		o.cells[i] = -1
	}
	lateOnes := 0
	for i, a := range attrs {
		if c, ok := o.columns[a.Key]; ok {
			o.cells[c] = i
		} else {
			lateOnes++
		}
	}
	for _, i := range o.cells {
		b = append(b, o.config.Delimiter...)
		if i >= 0 {
			start := len(b)
			b = o.quote(attrs[i].Value.Append(b), start)
		}
	}
	b = append(b, o.config.Delimiter...)
	if lateOnes == 0 {
		return b
	}
	start := len(b)
	for _, a := range attrs {
		if _, ok := o.columns[a.Key]; ok {
			continue
		}
		if len(b) > start {
			b = append(b, o.config.LateDelimiter...)
		}
		b = o.escape(append(b, a.Key...), len(b))
		b = append(b, '=')
		b = o.escape(a.Value.Append(b), len(b))
	}
	return o.quote(b, start)
}

// escape puts a backslash before each late delimiter in b[start:].
func (o *output) escape(b []byte, start int) []byte {
	o.scratch = append(o.scratch[:0], b[start:]...)
	b = b[:start]
	for i, c := range o.scratch {
		if hasAt(o.scratch, i, o.config.LateDelimiter) {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return b
}

// quote puts b[start:] in double quotes if CSV readers would take it apart otherwise (RFC 4180).
func (o *output) quote(b []byte, start int) []byte {
	needed := false
	for i, c := range b[start:] {
		if c == '"' || c == '\n' || c == '\r' || hasAt(b[start:], i, o.config.Delimiter) {
			needed = true
			break
		}
	}
	if !needed {
		return b
	}
	o.scratch = append(o.scratch[:0], b[start:]...)
	b = append(b[:start], '"')
	for _, c := range o.scratch {
		if c == '"' {
			b = append(b, '"')
		}
		b = append(b, c)
	}
	return append(b, '"')
}

// hasAt tells whether s is in b at i.
func hasAt(b []byte, i int, s string) bool {
	return len(b)-i >= len(s) && string(b[i:i+len(s)]) == s
}

// name returns the first column of a metric.
func (o *output) name(m *agent.Metric) []byte {
	if n, ok := o.names[m]; ok {
		return n
	}
	n := []byte(m.Name)
	if o.config.AppendUnit {
		unit := m.Unit.UniqueName()
		if o.config.DisplayName {
			unit = m.Unit.DisplayName()
		}
		if unit != "" {
			n = append(append(n, '_'), unit...)
		}
	}
	n = o.quote(n, 0)
	o.names[m] = n
	return n
}

// timestamp returns a time in UTC as RFC 3339 has it, with as many digits of the fraction as it needs.
func (o *output) timestamp(unixNs int64) []byte {
	if len(o.stamp) == 0 || o.stampTime != unixNs {
		o.stampTime = unixNs
		o.stamp = time.Unix(0, unixNs).UTC().AppendFormat(o.stamp[:0], time.RFC3339Nano)
	}
	return o.stamp
}
