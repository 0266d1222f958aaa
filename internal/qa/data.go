package qa

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"crayon/internal/fault"
)

const suffix = ".jsonl.gz"

// Data is a number of data sets, in a folder or from sources.
type Data struct {
	root string // what was named, for messages
	sets map[string]*set
}

// set is one data set.
type set struct {
	info   Info
	place  string // for messages
	splits map[string]*split
}

// split is the files of a split, in order, and how one is read; first is the
// number of rows before the file.
type split struct {
	files []*dataFile
	read  func(f *dataFile, split string, first int) iter.Seq2[Row, error]
}

// dataFile is a file and, once it was read, what it gave.
type dataFile struct {
	name    string // without this machine's folders
	path    string
	rows    int
	skipped int // rows that could not be mapped
}

// Open lists the data sets in dir, or in its folder qa where it has one.
// No row is read.
func Open(dir string) (*Data, error) {
	fail := func(err error) (*Data, error) {
		return nil, &fault.Error{Op: "open data", Path: dir, Err: err,
			Hint: "name a folder that holds <dataset>/<split>" + suffix}
	}
	root := filepath.Join(dir, "qa")
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		root = dir
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return fail(err)
	}
	d := &Data{root: root, sets: map[string]*set{}}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		files, err := os.ReadDir(filepath.Join(root, e.Name()))
		if err != nil {
			return fail(err)
		}
		s := &set{info: About(e.Name()), place: filepath.Join(root, e.Name()), splits: map[string]*split{}}
		for _, f := range files {
			if name, ok := strings.CutSuffix(f.Name(), suffix); ok && name != "" && !f.IsDir() {
				file := &dataFile{name: e.Name() + "/" + f.Name(), path: filepath.Join(s.place, f.Name())}
				s.splits[name] = &split{files: []*dataFile{file}, read: normalRows(e.Name())}
			}
		}
		if len(s.splits) > 0 {
			d.sets[e.Name()] = s
		}
	}
	if len(d.sets) == 0 {
		return fail(errors.New("no data set in it"))
	}
	return d, nil
}

// normalRows reads a file of the normal form.
func normalRows(dataset string) func(*dataFile, string, int) iter.Seq2[Row, error] {
	return func(file *dataFile, _ string, _ int) iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			f, err := os.Open(file.path)
			if err != nil {
				yield(Row{}, &fault.Error{Op: "read data", Path: file.path, Err: err})
				return
			}
			defer f.Close()
			file.rows = 0
			for row, err := range decode(file.path, dataset, f) {
				if err == nil {
					file.rows++
				}
				if !yield(row, err) {
					return
				}
			}
		}
	}
}

// Datasets returns the names, sorted.
func (d *Data) Datasets() []string { return sortedSplits(d.sets) }

// About returns what is known of a data set: by its source, else by the
// catalogue.
func (d *Data) About(dataset string) Info {
	if s, ok := d.sets[dataset]; ok {
		return s.info
	}
	return About(dataset)
}

func (d *Data) has(dataset, split string) bool {
	s, ok := d.sets[dataset]
	return ok && s.splits[split] != nil
}

// place is where a data set lies, for messages.
func (d *Data) place(dataset string) string {
	if s, ok := d.sets[dataset]; ok {
		return s.place
	}
	return filepath.Join(d.root, dataset)
}

// EvalSplit returns the split that scored rows come from: the first of test,
// dev and all. A data set without any is an error.
func (d *Data) EvalSplit(dataset string) (string, error) {
	for _, s := range []string{"test", "dev", "all"} {
		if d.has(dataset, s) {
			return s, nil
		}
	}
	return "", &fault.Error{Op: "find the evaluation split of", Path: d.place(dataset),
		Err: errors.New("none of test, dev and all"), Hint: "add one of test, dev, all"}
}

// TrainSplits returns the splits to train on: train, or where there is none,
// those of dev and val that are not the evaluation split. It may be empty.
func (d *Data) TrainSplits(dataset string) []string {
	if d.has(dataset, "train") {
		return []string{"train"}
	}
	eval, _ := d.EvalSplit(dataset)
	var out []string
	for _, s := range []string{"dev", "val"} {
		if s != eval && d.has(dataset, s) {
			out = append(out, s)
		}
	}
	return out
}

// Rows streams a split in file order. The first error ends it and names file
// and row.
func (d *Data) Rows(dataset, name string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if !d.has(dataset, name) {
			yield(Row{}, &fault.Error{Op: "read data", Path: filepath.Join(d.place(dataset), name+suffix), Err: os.ErrNotExist,
				Hint: "data sets here: " + strings.Join(d.Datasets(), ", ")})
			return
		}
		first := 0
		s := d.sets[dataset].splits[name]
		for _, f := range s.files {
			for row, err := range s.read(f, name, first) {
				if !yield(row, err) || err != nil {
					return
				}
			}
			first += f.rows + f.skipped
		}
	}
}

// All reads splits whole. A data set that uses an id twice in a subject is an
// error, as examples could then not be told from scored rows.
func (d *Data) All(dataset string, splits ...string) ([]Row, error) {
	var rows []Row
	seen := map[[2]string]bool{}
	for _, split := range splits {
		for row, err := range d.Rows(dataset, split) {
			if err != nil {
				return nil, err
			}
			id := [2]string{row.Subject, row.ID}
			if seen[id] {
				return nil, &fault.Error{Op: "read data", Path: filepath.Join(d.place(dataset), split),
					Err: fmt.Errorf("id %q twice", row.ID), Hint: "give every row an id of its own"}
			}
			seen[id] = true
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// files says what a split that was read consisted of.
func (d *Data) files(dataset, name string) ([]File, error) {
	var out []File
	for _, f := range d.sets[dataset].splits[name].files {
		sum, err := digestFile(f.path)
		if err != nil {
			return nil, err
		}
		out = append(out, File{Dataset: dataset, Split: name, Name: f.name, SHA256: sum, Rows: f.rows, Skipped: f.skipped})
	}
	return out, nil
}

func digestFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &fault.Error{Op: "read data", Path: path, Err: err}
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", &fault.Error{Op: "read data", Path: path, Err: err}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// decode streams the rows of a gzip JSON-lines file.
func decode(path, dataset string, r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		n := 0
		fail := func(err error) {
			yield(Row{}, &fault.Error{Op: "read data", Path: fmt.Sprintf("%s:%d", path, n), Err: err,
				Hint: "mend or remove that line, or fetch the data set anew"})
		}
		zr, err := gzip.NewReader(r)
		if err != nil {
			fail(err)
			return
		}
		defer zr.Close()
		limited := &io.LimitedReader{R: zr, N: MaxBytes + 1}
		sc := bufio.NewScanner(limited)
		sc.Buffer(make([]byte, 0, 64<<10), MaxLine+2)
		for sc.Scan() {
			n++
			if n > MaxRows || limited.N <= 0 {
				fail(fmt.Errorf("more than %d rows or %d bytes", MaxRows, int64(MaxBytes)))
				return
			}
			data := bytes.TrimSpace(sc.Bytes())
			if len(data) == 0 {
				fail(errors.New("empty line"))
				return
			}
			row, err := ParseRow(data)
			if err == nil && row.Dataset != dataset {
				err = fmt.Errorf("row of data set %q in the folder of %q", row.Dataset, dataset)
			}
			if err != nil {
				fail(err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		n++
		if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
			fail(fmt.Errorf("line of more than %d bytes", MaxLine))
		} else if err != nil {
			fail(err)
		}
	}
}
