package crayon

import (
	"os"
	"time"

	"crayon/internal/customize"
	"crayon/internal/route/record"
	"crayon/internal/store"
)

// Library is the user's customisations, as files. Nothing here opens a model.
// Safe for use by several processes.
type Library struct {
	paths store.Paths
	shelf *store.Customisations
}

// Paths are the folders everything is kept in.
type Paths = store.Paths

// OpenLibrary uses the folders under home; with home "", those under CRAYON_HOME
// if it is set, else the user's own.
// Nothing is created until something is stored.
func OpenLibrary(home string) (*Library, error) {
	if home == "" {
		home = os.Getenv("CRAYON_HOME")
	}
	paths, err := store.Resolve(home)
	if err != nil {
		return nil, err
	}
	return &Library{paths: paths, shelf: store.OpenCustomisations(paths.Customisations())}, nil
}

// Paths says where the files are.
func (l *Library) Paths() Paths { return l.paths }

// Entry is a customisation as a list shows it.
type Entry struct {
	Name     string    `json:"name"`
	Examples int       `json:"examples"`
	Labels   int       `json:"labels,omitempty"`
	Model    string    `json:"model"`
	Verdict  string    `json:"verdict,omitempty"` // of its proof against base
	Changed  time.Time `json:"changed"`
	Bytes    int64     `json:"bytes"`
	Damaged  string    `json:"damaged,omitempty"` // why it cannot be read
}

// List is every customisation, by name. One that cannot be read is listed with
// the reason rather than hiding the rest.
func (l *Library) List() ([]Entry, error) {
	files, err := l.shelf.List()
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(files))
	for _, f := range files {
		e := Entry{Name: f.Name, Changed: f.Changed.UTC().Truncate(time.Second), Bytes: f.Bytes}
		c, err := l.Load(f.Name)
		if err != nil {
			e.Damaged = err.Error()
		} else {
			e.Examples, e.Labels, e.Model = len(c.Examples), len(c.Labels), c.Model
			if c.Proof != nil {
				e.Verdict = c.Proof.Verdict
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// Load reads a customisation; an unknown name is an error that names the
// nearest one there is.
func (l *Library) Load(name string) (*Customisation, error) {
	data, err := l.shelf.Get(name)
	if err != nil {
		return nil, err
	}
	c, err := customize.Unmarshal(name, data)
	if err == nil {
		c.Beside(l.shelf.Beside)
	}
	return c, err
}

// Has says whether there is a customisation of that name.
func (l *Library) Has(name string) bool {
	names, err := l.shelf.Names()
	if err != nil {
		return false
	}
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// Rename gives a customisation and its versions another name, which must be free.
func (l *Library) Rename(from, to string) error {
	if err := l.shelf.Rename(from, to); err != nil {
		return err
	}
	return l.records().Rename(from, to)
}

// records is what routing keeps.
func (l *Library) records() *record.Folder { return record.Open(l.paths.Routing()) }

// Remove takes a customisation away. Its content stays as a version, and Undo
// brings it back.
func (l *Library) Remove(name string) error { return l.shelf.Remove(name) }

// Undo takes back the last change of a name.
func (l *Library) Undo(name string) error { return l.shelf.Undo(name) }

// Versions is how many older contents of a name are kept.
func (l *Library) Versions(name string) (int, error) {
	v, err := l.shelf.Versions(name)
	return len(v), err
}

// CheckName says why a name cannot be a customisation's, or nil.
func CheckName(name string) error { return store.CheckName(name) }

// File is where the customisation of a name lies or would lie.
func (l *Library) File(name string) string { return l.shelf.Path(name) }

// Names are the customisations' names, sorted.
func (l *Library) Names() ([]string, error) { return l.shelf.Names() }
