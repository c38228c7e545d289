package config

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// Write prints a configuration file with the general keys, nil for none, and a section with the defaults for each of the
// plugins. Comments come from the `comment` tags of the configurations, and the text reads back to the same values.
func Write(w io.Writer, general any, plugins []agent.Plugin) error {
	var p printer
	if general != nil {
		p.table(nil, reflect.ValueOf(general).Elem())
	}
	for _, plugin := range plugins {
		if p.buf.Len() > 0 {
			p.buf.WriteByte('\n')
		}
		p.comment(plugin.Doc)
		path := []string{"plugins", plugin.Name}
		p.header(path, "[", "]")
		p.table(path, reflect.ValueOf(plugin.Defaults()).Elem())
	}
	if p.err != nil {
		return p.err
	}
	_, err := w.Write(p.buf.Bytes())
	return err
}

// printer writes TOML. The encoder of the TOML library prints an empty table for every parent and other quotes than the
// user book, which would make files that nobody writes by hand.
type printer struct {
	buf bytes.Buffer
	err error
	// prefix is put before each line: `# ` within a part that is commented out.
	prefix string
}

func (p *printer) comment(text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		p.buf.WriteString("# " + line + "\n")
	}
}

func (p *printer) header(path []string, left, right string) {
	p.buf.WriteString(p.prefix + left)
	for i, name := range path {
		if i > 0 {
			p.buf.WriteByte('.')
		}
		p.key(name)
	}
	p.buf.WriteString(right + "\n")
}

// entry is one key of a table with its value.
type entry struct {
	tag
	value reflect.Value
}

// entries lists what a struct or map prints; unset optional keys print nothing.
func entries(v reflect.Value) []entry {
	var list []entry
	if v.Kind() == reflect.Map {
		for _, k := range v.MapKeys() {
			list = append(list, entry{tag{name: k.String()}, v.MapIndex(k)})
		}
		slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	} else {
		for _, f := range fieldsOf(v.Type()) {
			list = append(list, entry{parseTag(f), v.FieldByIndex(f.Index)})
		}
	}
	return slices.DeleteFunc(list, func(e entry) bool {
		return e.omitEmpty && e.value.IsZero() || (e.value.Kind() == reflect.Pointer || e.value.Kind() == reflect.Map) && e.value.IsNil()
	})
}

// table prints the plain keys of a table and then the tables in it, as TOML wants.
func (p *printer) table(path []string, v reflect.Value) {
	list := entries(v)
	for i, e := range list {
		for e.value.Kind() == reflect.Pointer {
			e.value = e.value.Elem()
		}
		list[i] = e
		if isTable(e.value) {
			continue
		}
		p.comment(e.comment)
		p.within(e.commented, func() {
			p.buf.WriteString(p.prefix)
			p.key(e.name)
			p.buf.WriteString(" = ")
			p.value(e.value)
			p.buf.WriteByte('\n')
		})
	}
	for _, e := range list {
		if isTable(e.value) {
			p.within(e.commented, func() { p.inner(append(slices.Clone(path), e.name), e) })
		}
	}
}

// within prints a part, behind `# ` if it is commented out.
func (p *printer) within(commented bool, print func()) {
	old := p.prefix
	if commented {
		p.prefix = "# "
	}
	print()
	p.prefix = old
}

// inner prints a table, or a list of tables, that is part of another one.
func (p *printer) inner(path []string, e entry) {
	p.buf.WriteByte('\n')
	p.comment(e.comment)
	if e.value.Kind() != reflect.Slice {
		p.header(path, "[", "]")
		p.table(path, e.value)
		return
	}
	for i := range e.value.Len() {
		p.header(path, "[[", "]]")
		p.table(path, reflect.Indirect(e.value.Index(i)))
	}
}

// isTable tells whether a value is printed below a header of its own. An empty list of tables is printed as `[]`.
func isTable(v reflect.Value) bool {
	switch {
	case isText(v.Type()):
		return false
	case v.Kind() == reflect.Slice:
		return v.Len() > 0 && isTable(reflect.Indirect(v.Index(0)))
	}
	return v.Kind() == reflect.Struct || v.Kind() == reflect.Map
}

// key prints the name of a key, in quotes where it needs them.
func (p *printer) key(name string) {
	bare := name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
	if bare {
		p.buf.WriteString(name)
		return
	}
	p.text(name)
}

// value prints a plain value.
func (p *printer) value(v reflect.Value) {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil && p.err == nil {
			p.err = err
		}
		p.text(string(text))
		return
	}
	switch v.Kind() {
	case reflect.String:
		p.text(v.String())
	case reflect.Bool:
		p.buf.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Float32, reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.ContainsAny(s, ".nI") {
			s += ".0"
		}
		p.buf.WriteString(strings.TrimPrefix(strings.ToLower(s), "+"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.buf.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.buf.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Slice, reflect.Array:
		p.list(v)
	default:
		if p.err == nil {
			p.err = fmt.Errorf("a configuration cannot have a %s", v.Type())
		}
	}
}

// list prints a list on one line, or one value a line if that were too long.
func (p *printer) list(v reflect.Value) {
	const width = 100
	one := printer{}
	for i := range v.Len() {
		if i > 0 {
			one.buf.WriteString(", ")
		}
		one.value(v.Index(i))
	}
	if one.err != nil && p.err == nil {
		p.err = one.err
	}
	if one.buf.Len() <= width {
		fmt.Fprintf(&p.buf, "[%s]", one.buf.String())
		return
	}
	p.buf.WriteString("[\n")
	for i := range v.Len() {
		p.buf.WriteString(p.prefix + "    ")
		p.value(v.Index(i))
		p.buf.WriteString(",\n")
	}
	p.buf.WriteString(p.prefix + "]")
}

// text prints a string in double quotes.
func (p *printer) text(s string) {
	p.buf.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			p.buf.WriteByte('\\')
			p.buf.WriteRune(r)
		case r == '\n':
			p.buf.WriteString(`\n`)
		case r == '\t':
			p.buf.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&p.buf, `\u%04X`, r)
		default:
			p.buf.WriteRune(r)
		}
	}
	p.buf.WriteByte('"')
}
