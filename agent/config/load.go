package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
	toml "github.com/pelletier/go-toml/v2"
)

// File is a configuration that was read: one section per plugin. The general keys are in the value that it was read into.
type File struct {
	// Sections has every plugin: first those with a section, in the order of the file, which is the order of transforms,
	// then the others in the order in which they were given.
	Sections []*Section

	docs []*document
}

// Section is what the configuration says about one plugin.
type Section struct {
	Plugin agent.Plugin
	// Config is the plugin's configuration, a pointer as [agent.Plugin.Defaults] returns it. What the file does not say is
	// the default.
	Config any
	// Present tells whether the file or an override has a section for the plugin. A plugin without one is not enabled.
	Present bool
	// Enabled tells whether the plugin is to be opened.
	Enabled bool
	// Required tells that the agent must not start without what the plugin needs.
	Required bool

	where place
}

// Override is a TOML document that is laid over the file: its tables are merged, its values and lists replace the file's.
type Override struct {
	// Name says in errors where the document comes from, such as `--config-override`.
	Name string
	Text string
}

// Set makes an override of one key, such as `plugins.csv.output_path`. value is a string, a number or a truth value.
func Set(name, key string, value any) Override {
	var p printer
	p.value(reflect.ValueOf(value))
	return Override{Name: name, Text: key + " = " + p.buf.String() + "\n"}
}

// Load reads a configuration file. The top-level keys are decoded into general, a pointer to a struct of exported fields
// that holds the defaults; nil: there are no such keys. `${NAME}` is replaced by the environment variable in the file but not in overrides.
// Keys that nobody knows are errors. Every error names the file, the line, the column and the key.
func Load(path string, plugins []agent.Plugin, general any, overrides ...Override) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, text, plugins, general, overrides...)
}

// Parse is [Load] for a text that was read already; name stands for the file in errors.
func Parse(name string, text []byte, plugins []agent.Plugin, general any, overrides ...Override) (*File, error) {
	doc, err := newDocument(name, text)
	if err != nil {
		return nil, err
	}
	docs := []*document{doc}
	for i, o := range overrides {
		docs = append(docs, &document{name: o.Name, order: i + 1, raw: []byte(o.Text), text: []byte(o.Text)})
	}
	l := newLoader(plugins, general)
	for _, d := range docs {
		if err := l.read(d); err != nil {
			return nil, err
		}
	}
	l.finish(general)
	f := &File{Sections: l.order(), docs: docs}
	if err := f.validate(func(s *Section) bool { return s.Present && s.Enabled }); err != nil {
		return nil, err
	}
	return f, nil
}

// Section returns the section of a plugin, or nil when there is no such plugin.
func (f *File) Section(name string) *Section {
	for _, s := range f.Sections {
		if s.Plugin.Name == name {
			return s
		}
	}
	return nil
}

// Only enables the named plugins and no others, whatever the file says. It is what `--plugins` asks for.
func (f *File) Only(names []string) error {
	var known []string
	for _, s := range f.Sections {
		known = append(known, s.Plugin.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return fmt.Errorf("plugin %q is unknown%s", n, hint(n, known))
		}
	}
	for _, s := range f.Sections {
		s.Enabled = slices.Contains(names, s.Plugin.Name)
	}
	return f.validate(func(s *Section) bool { return s.Enabled })
}

// validate asks the configurations that have rules of their own.
func (f *File) validate(which func(*Section) bool) error {
	var errs []error
	for _, s := range f.Sections {
		v, ok := s.Config.(agent.Validator)
		if !ok || !which(s) {
			continue
		}
		if err := v.Validate(); err != nil {
			errs = append(errs, f.blame(s, err).errorf("plugins.%s: %w", s.Plugin.Name, err))
		}
	}
	return errors.Join(errs...)
}

// blame finds the place of what is wrong in a section: of the key that the error begins with, if one of the documents has
// it, else of the section.
func (f *File) blame(s *Section, err error) place {
	word, _, _ := strings.Cut(err.Error(), " ")
	path := append([]string{"plugins", s.Plugin.Name}, strings.Split(strings.TrimSuffix(word, ":"), ".")...)
	for _, d := range slices.Backward(f.docs) {
		for _, k := range d.keys {
			if slices.Equal(k.path, path) {
				return d.at(k.start)
			}
		}
	}
	return s.where
}

// loader decodes several documents, one over the other, into one value: a struct with the general keys and a field
// `plugins`, which has a field per plugin. Its type is made at run time, so that the TOML library checks all keys at once.
type loader struct {
	sections []*Section
	root     reflect.Value
	general  int // number of general keys
}

func newLoader(plugins []agent.Plugin, general any) *loader {
	l := &loader{}
	var table []reflect.StructField
	for i, p := range plugins {
		s := &Section{Plugin: p, Config: p.Defaults()}
		l.sections = append(l.sections, s)
		table = append(table, reflect.StructField{
			Name: fmt.Sprintf("P%d", i), Type: reflect.TypeOf(s.Config), Tag: reflect.StructTag(fmt.Sprintf("toml:%q", p.Name)),
		})
	}
	var fields []reflect.StructField
	if general != nil {
		t := reflect.TypeOf(general).Elem()
		for i := range t.NumField() {
			fields = append(fields, t.Field(i))
		}
		l.general = len(fields)
	}
	pluginsType := reflect.StructOf(table)
	fields = append(fields, reflect.StructField{Name: "AllPlugins", Type: pluginsType, Tag: `toml:"plugins"`})
	l.root = reflect.New(reflect.StructOf(fields)).Elem()
	for i := range l.general {
		l.root.Field(i).Set(reflect.ValueOf(general).Elem().Field(i))
	}
	for i, s := range l.sections {
		l.root.Field(l.general).Field(i).Set(reflect.ValueOf(s.Config))
	}
	return l
}

// finish copies the general keys back.
func (l *loader) finish(general any) {
	for i := range l.general {
		reflect.ValueOf(general).Elem().Field(i).Set(l.root.Field(i))
	}
}

// order puts the sections of the file first. Those that an override adds follow.
func (l *loader) order() []*Section {
	list := slices.Clone(l.sections)
	slices.SortStableFunc(list, func(a, b *Section) int {
		switch {
		case a.Present && b.Present:
			return a.where.compare(b.where)
		case a.Present:
			return -1
		case b.Present:
			return 1
		}
		return 0
	})
	return list
}

// read decodes one document over what is there.
func (l *loader) read(d *document) error {
	d.scan()
	if err := l.switches(d); err != nil {
		return err
	}
	err := toml.NewDecoder(bytes.NewReader(d.text)).DisallowUnknownFields().Decode(l.root.Addr().Interface())
	if err == nil {
		return nil
	}
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		var errs []error
		for _, e := range unknown.Errors {
			errs = append(errs, l.unknownKey(d, d.offset(e.Position())))
		}
		return errors.Join(errs...)
	case errors.As(err, &wrong):
		return l.wrongValue(d, wrong)
	}
	return fmt.Errorf("%s: %w", d.name, err)
}

// unknownKey says which key is unknown and which one may be meant.
func (l *loader) unknownKey(d *document, offset int) error {
	k := d.keyAt(offset)
	if k == nil {
		return d.at(offset).errorf("unknown key")
	}
	parent := k.path[:len(k.path)-1]
	name := k.path[len(k.path)-1]
	var known []string
	// A table that is unknown as a whole is reported at its header, of which only one part need be wrong.
	for i := range k.path {
		t, ok := resolve(l.root.Type(), k.path[:i])
		if !ok {
			break
		}
		if _, ok := resolve(l.root.Type(), k.path[:i+1]); !ok {
			parent, name, known = k.path[:i], k.path[i], keysOf(t)
			break
		}
	}
	return d.at(offset).errorf("%s: unknown key%s", strings.Join(append(slices.Clone(parent), name), "."), hint(name, known))
}

// wrongValue says what was expected instead of a value.
func (l *loader) wrongValue(d *document, e *toml.DecodeError) error {
	offset := d.offset(e.Position())
	message := strings.TrimPrefix(e.Error(), "toml: ")
	k := d.keyAt(offset)
	if len(e.Key()) == 0 || k == nil {
		return d.at(offset).errorf("%s", message)
	}
	if rest, ok := strings.CutPrefix(message, "cannot decode TOML "); ok {
		got, _, _ := strings.Cut(rest, " into ")
		if t, ok := resolve(l.root.Type(), k.path); ok {
			message = fmt.Sprintf("want %s, got %s", describe(t), article(got))
		}
	}
	return d.at(offset).errorf("%s: %s", strings.Join(k.path, "."), message)
}
