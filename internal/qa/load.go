package qa

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"crayon/internal/fault"
)

// Hub is a hub's data set on this machine.
type Hub struct {
	Address string            // hf://datasets/OWNER/NAME@COMMIT
	Files   map[string]string // path by name in the data set
}

// Fetch brings a hub data set's files to this machine: those that want picks
// of all names, in one go.
type Fetch func(ctx context.Context, address string, want func(names []string) ([]string, error)) (Hub, error)

// Load opens data named in any of the ways --data takes (a folder in the
// normal form, a .yaml file of sources, an hf:// address, a file of rows) and
// the sources of a recipe. No data set may come twice. Rows are read later;
// only the files of the hub are fetched now.
func Load(ctx context.Context, names []string, sources []Source, fetch Fetch) (*Data, error) {
	d := &Data{sets: map[string]*set{}}
	var places []string
	for _, name := range names {
		places = append(places, name)
		more, err := d.name(name)
		if err != nil {
			return nil, err
		}
		sources = append(more, sources...)
	}
	d.root = strings.Join(places, ", ")
	for i := range sources {
		if err := d.source(ctx, &sources[i], fetch); err != nil {
			return nil, err
		}
	}
	if len(d.sets) == 0 {
		return nil, &fault.Error{Op: "open data", Err: errors.New("no data is named"), Hint: "name a folder, a file or hf://OWNER/DATASET with --data, or sources in the recipe", Exit: fault.ExitUsage}
	}
	return d, nil
}

// name takes over one value of --data: a folder at once, else its sources.
func (d *Data) name(name string) ([]Source, error) {
	ext := strings.ToLower(filepath.Ext(name))
	switch {
	case strings.HasPrefix(name, hubScheme):
		return []Source{{From: name}}, nil
	case ext == ".yaml" || ext == ".yml":
		return readSources(name)
	case kindOf(name) != "":
		return []Source{{From: name}}, nil
	}
	folder, err := Open(name)
	if err != nil {
		return nil, err
	}
	for dataset, s := range folder.sets {
		if err := d.add(dataset, s); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (d *Data) add(dataset string, s *set) error {
	if _, ok := d.sets[dataset]; ok {
		return &fault.Error{Op: "open data", Path: s.place, Err: fmt.Errorf("the data set %q comes from two places", dataset), Hint: "give one of them another name with dataset:", Exit: fault.ExitUsage}
	}
	d.sets[dataset] = s
	return nil
}

// source opens one source, fetching its files where they are the hub's.
func (d *Data) source(ctx context.Context, s *Source, fetch Fetch) error {
	fail := func(err error) error {
		var told *fault.Error
		if errors.As(err, &told) {
			return err
		}
		return &fault.Error{Op: "open data", Path: s.From, Err: err, Hint: "docs/data.md shows sources and how they are mapped", Exit: fault.ExitUsage}
	}
	if err := s.Check(); err != nil {
		return fail(err)
	}
	var of map[string][]string
	var paths map[string]string
	shownAs := s.From
	if s.hub() {
		if fetch == nil {
			return fail(errors.New("nothing here can fetch it"))
		}
		got, err := fetch(ctx, s.From, func(names []string) ([]string, error) {
			var err error
			if of, err = s.assign(names); err != nil {
				return nil, err
			}
			var want []string
			for _, split := range sortedSplits(of) {
				want = append(want, of[split]...)
			}
			return want, nil
		})
		if err != nil {
			return fail(err)
		}
		paths, shownAs = got.Files, got.Address
	} else {
		var err error
		if of, paths, err = s.local(); err != nil {
			return fail(err)
		}
	}
	m := s.Map
	if m.plain() {
		m = normal
	}
	out := &set{info: s.info(), place: s.From, splits: map[string]*split{}}
	reader := &mapped{dataset: s.name(), m: m, skip: s.SkipBad, of: out, optional: s.Map.plain()}
	for name, files := range of {
		sp := &split{read: reader.rows}
		for _, f := range files {
			if kindOf(f) == "" {
				return fail(fmt.Errorf("%s is neither .parquet, .jsonl, .csv nor .tsv", f))
			}
			as := path.Base(f)
			if s.hub() {
				as = shownAs + "/" + f
			}
			sp.files = append(sp.files, &dataFile{name: as, path: paths[f]})
		}
		out.splits[name] = sp
	}
	return d.add(s.name(), out)
}

// maxListed bounds the files below a source's folder.
const maxListed = 1 << 16

// local finds a source's files on this machine, by name below From.
func (s *Source) local() (of map[string][]string, paths map[string]string, err error) {
	info, err := os.Stat(s.From)
	if err != nil {
		return nil, nil, err
	}
	paths = map[string]string{}
	if !info.IsDir() {
		if len(s.Splits) > 0 {
			return nil, nil, errors.New("splits name files below a folder, but from is a file")
		}
		base := filepath.Base(s.From)
		paths[base] = s.From
		return map[string][]string{"train": {base}}, paths, nil
	}
	var names []string
	err = filepath.WalkDir(s.From, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() || !e.Type().IsRegular():
			return nil
		case len(names) >= maxListed:
			return fmt.Errorf("more than %d files", maxListed)
		}
		rel, err := filepath.Rel(s.From, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		names, paths[rel] = append(names, rel), p
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	of, err = s.assign(names)
	return of, paths, err
}
