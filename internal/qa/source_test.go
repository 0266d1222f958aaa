package qa

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
)

// file writes a file into a new folder.
func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// one loads a single source and returns its rows.
func one(t testing.TB, yaml string, split string) ([]Row, error) {
	t.Helper()
	sources, err := parseSources([]byte("sources:\n- " + strings.ReplaceAll(strings.TrimSpace(yaml), "\n", "\n  ")))
	if err != nil {
		return nil, err
	}
	d, err := Load(t.Context(), nil, sources, nil)
	if err != nil {
		return nil, err
	}
	return d.All(d.Datasets()[0], split)
}

// The forms that choices and answers have, in each kind of file.
func TestMappings(t *testing.T) {
	arc := `{"id":"Q1","q":"fruit?","choices":{"text":["stone","pear"],"label":["A","B"]},"answerKey":"B"}`
	list := `{"id":"Q1","q":"fruit?","choices":[{"text":"stone","label":"1"},{"text":"pear","label":"2"}],"answerKey":"2"}`
	keyed := "map: {question: q, id: id, choices: choices.text, keys: choices.label, answer: answerKey}"
	pear := Row{Dataset: "d", ID: "Q1", Question: "fruit?", Choices: []string{"stone", "pear"}, Answer: 1}
	counted := pear
	counted.ID = "train-1"
	for name, c := range map[string]struct {
		file, text, yaml string
		want             Row
	}{
		"struct of lists":     {"d.jsonl", arc, keyed, pear},
		"list of structs":     {"d.jsonl", list, keyed, pear},
		"several columns":     {"d.csv", "q,a,b,gold\nfruit?,stone,pear,2\n", "map: {question: q, choices: [a, b], answer: gold, answer_is: number}", counted},
		"letters":             {"d.csv", "\ufeffq,a,b,gold\nfruit?,stone,pear,b\n", "map: {question: q, choices: [a, b], answer: gold, answer_is: letter}", counted},
		"text":                {"d.tsv", "q\ta\tb\tgold\nfruit?\tstone\tpear\tpear\n", "map: {question: q, choices: [a, b], answer: gold}", counted},
		"index in text":       {"d.csv", "q,gold\nfruit?,1\n", "map: {question: q, labels: [stone, pear], answer: gold, answer_is: index}", counted},
		"index":               {"d.jsonl", `{"q":"fruit?","gold":1}`, "map: {question: q, labels: [stone, pear], answer: gold}", counted},
		"a yes or no":         {"d.jsonl", `{"q":"fruit?","gold":true}`, "map: {question: q, labels: [stone, pear], answer: gold}", counted},
		"of one fraction":     {"d.jsonl", `{"q":"fruit?","gold":1.0}`, "map: {question: q, labels: [stone, pear], answer: gold}", counted},
		"distinct answers":    {"d.csv", "q,gold\nfruit?,pear\nx,stone\ny,pear\n", "map: {question: q, distinct: true, answer: gold}", Row{Dataset: "d", ID: "train-1", Question: "fruit?", Choices: []string{"pear", "stone"}, Answer: 0}},
		"free text":           {"d.jsonl", `{"q":"6 x 3?","a":18}`, "map: {question: q, answer: a}", Row{Dataset: "d", ID: "train-1", Question: "6 x 3?", Answer: -1, Text: "18"}},
		"subject and context": {"d.jsonl", `{"q":"6 x 3?","a":"18","c.d":"Sums.","s":{"t":3}}`, "map: {question: q, answer: a, context: c.d, subject: s.t}", Row{Dataset: "d", Subject: "3", ID: "train-1", Question: "6 x 3?", Context: "Sums.", Answer: -1, Text: "18"}},
		"normal form":         {"d.jsonl", `{"question":"fruit?","choices":["stone","pear"],"answer":1,"id":"Q1","context":null}`, "", pear},
		"part of normal form": {"d.jsonl", `{"question":"fruit?","choices":["stone","pear"],"answer":1}`, "", counted},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := one(t, "from: "+file(t, c.file, c.text)+"\n"+c.yaml, "train")
			require.NoError(t, err)
			require.Equal(t, c.want, rows[0])
		})
	}
}

// A file that pyarrow wrote, as the hub's are.
func TestParquet(t *testing.T) {
	hub := "from: testdata/hub.parquet\nmap: {question: question, id: id, choices: choices.text, keys: choices.label, answer: answerKey, context: note}"
	rows, err := one(t, hub, "train")
	require.NoError(t, err)
	require.Len(t, rows, 3)
	require.Equal(t, Row{Dataset: "hub", ID: "Q2", Question: "Which flies?", Context: "été", Choices: []string{"hen house", "gull", "mole", "eel"}, Answer: 1}, rows[1])
	rows, err = one(t, "from: testdata/hub.parquet\nmap: {question: question, labels: [x, y], answer: label, subject: fits}", "train")
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 0}, []int{rows[0].Answer, rows[1].Answer, rows[2].Answer})
	require.Equal(t, []string{"true", "false"}, []string{rows[0].Subject, rows[1].Subject})
	rows, err = one(t, "from: testdata/hub.parquet\nmap: {question: question, labels: [x, y], answer: fits}", "train")
	require.NoError(t, err)
	require.Equal(t, 0, rows[1].Answer)
}

// A damaged file gives records or an error, never a panic.
func TestDamagedParquet(t *testing.T) {
	whole, err := os.ReadFile("testdata/hub.parquet")
	require.NoError(t, err)
	failed := 0
	for at := 0; at < len(whole); at += 3 {
		data := bytes.Clone(whole)
		data[at] ^= 0xff
		for rec, err := range parquetRecords(bytes.NewReader(data), int64(len(data))) {
			if err != nil {
				failed++
				continue
			}
			require.NotEmpty(t, rec)
		}
	}
	require.Greater(t, failed, len(whole)/12)
	for n := 0; n < len(whole); n += 7 {
		_, err := openParquet(bytes.NewReader(whole[:n]), int64(n))
		require.Error(t, err)
	}
}

func TestMappingErrors(t *testing.T) {
	for want, c := range map[string]struct{ text, yaml string }{
		`d.jsonl, row 2: question: there is no column "q", only a, r`: {"{\"q\":\"x\",\"a\":\"y\"}\n{\"r\":\"x\",\"a\":\"y\"}", "map: {question: q, answer: a}"},
		`"c" is no choice`:               {`{"q":"x","c":["a","b"],"a":"c"}`, "map: {question: q, choices: c, answer: a}"},
		`"9" is no key`:                  {`{"q":"x","c":["a","b"],"k":["1","2"],"a":"9"}`, "map: {question: q, choices: c, keys: k, answer: a}"},
		"1 keys for 2":                   {`{"q":"x","c":["a","b"],"k":["1"],"a":"1"}`, "map: {question: q, choices: c, keys: k, answer: a}"},
		"answer -1 of 2":                 {`{"q":"x","c":["a","b"],"a":-1}`, "map: {question: q, choices: c, answer: a}"},
		"answer 7 of 2":                  {`{"q":"x","c":["a","b"],"a":"H"}`, "map: {question: q, choices: c, answer: a, answer_is: letter}"},
		`"1.5" is no index`:              {`{"q":"x","c":["a","b"],"a":1.5}`, "map: {question: q, choices: c, answer: a}"},
		`"HH" is no letter`:              {`{"q":"x","c":["a","b"],"a":"HH"}`, "map: {question: q, choices: c, answer: a, answer_is: letter}"},
		"no answer":                      {`{"q":"x","c":["a","b"],"a":null}`, "map: {question: q, choices: c, answer: a}"},
		"no question":                    {`{"q":" ","c":["a","b"],"a":0}`, "map: {question: q, choices: c, answer: a}"},
		"is no list":                     {`{"q":"x","c":"a","a":0}`, "map: {question: q, choices: c, answer: a}"},
		"not one value but several":      {`{"q":["x"],"c":["a","b"],"a":0}`, "map: {question: q, choices: c, answer: a}"},
		`"a" is choice 0 and 1`:          {`{"q":"x","c":["a","a "],"a":"a"}`, "map: {question: q, choices: c, answer: a}"},
		"all rows have one answer":       {`{"q":"x","a":"y"}`, "map: {question: q, distinct: true, answer: a}"},
		"unexpected EOF":                 {`{"q":"x","a`, "map: {question: q, answer: a}"},
		"write one object a line":        {`[{"q":"x"}]`, "map: {question: q, answer: a}"},
		"more than one object":           {`{"q":"x"} {"q":"y"}`, "map: {question: q, answer: a}"},
		"no object":                      {`null`, "map: {question: q, answer: a}"},
		`id "1" twice`:                   {"{\"q\":\"x\",\"a\":\"y\",\"i\":1}\n{\"q\":\"z\",\"a\":\"y\",\"i\":1}", "map: {question: q, answer: a, id: i}"},
		"line of more than 1048576":      {`{"q":"` + strings.Repeat("x", MaxLine) + `"}`, "map: {question: q, answer: a}"},
		"UTF-8":                          {"{\"q\":\"\xff\"}", "map: {question: q, answer: a}"},
		`map.question: no column`:        {"", "map: {answer: a}"},
		`map.answer: no column`:          {"", "map: {question: a}"},
		"only one of them":               {"", "map: {question: q, answer: a, choices: c, labels: [x, y]}"},
		"none of index, number":          {"", "map: {question: q, answer: a, choices: c, answer_is: nth}"},
		"which answer_is: key needs":     {"", "map: {question: q, answer: a, choices: c, answer_is: key}"},
		"go with answer_is: key":         {"", "map: {question: q, answer: a, labels: [x, y], keys: k}"},
		"needs choices or labels":        {"", "map: {question: q, answer: a, answer_is: index}"},
		"labels: 1 of them":              {"", "map: {question: q, answer: a, labels: [x]}"},
		"without a name":                 {"", "map: {question: q, answer: a, choices: [x, '']}"},
		"field querstion not found":      {"", "map: {querstion: q}"},
		"field licens not found":         {"", "licens: MIT"},
		"dataset: \"../x\" is no name":   {"", "dataset: ../x"},
		`splits: "first" is none of`:     {"", "splits: {first: x}"},
		"is no pattern of file names":    {"", "splits: {train: '['}"},
		"from is a file":                 {"", "splits: {train: x}"},
		`splits.train: "" is no pattern`: {"", "splits: {train: ''}"},
	} {
		t.Run(want, func(t *testing.T) {
			_, err := one(t, "from: "+file(t, "d.jsonl", c.text)+"\n"+c.yaml, "train")
			require.ErrorContains(t, err, want)
		})
	}
	_, err := one(t, "from: "+file(t, "d.csv", "q,a\n\"never closed"+strings.Repeat(",x\n", MaxLine/2))+"\nmap: {question: q, answer: a}", "train")
	require.ErrorContains(t, err, "record of more than")
	_, err = one(t, "from: "+file(t, "d.csv", "q,a\nx,y,z\n")+"\nmap: {question: q, answer: a}", "train")
	require.ErrorContains(t, err, "wrong number of fields")
	_, err = one(t, "from: "+file(t, "d.csv", "")+"\nmap: {question: q, answer: a}", "train")
	require.ErrorContains(t, err, "no line of column names")
	_, err = one(t, "from: "+file(t, "d.parquet", "PAR1 nothing more PAR1")+"\nmap: {question: q, answer: a}", "train")
	require.Error(t, err)
	_, err = one(t, "from: "+filepath.Join(t.TempDir(), "none.csv"), "train")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = parseSources([]byte("sources: []"))
	require.ErrorContains(t, err, "no sources")
	_, err = parseSources([]byte("sources: [{from: a.csv}, {from: b/a.csv}]"))
	require.ErrorContains(t, err, "named twice")
}

// Bad rows are counted where they may be.
func TestSkipBad(t *testing.T) {
	path := file(t, "d.jsonl", "{\"q\":\"x\",\"a\":0}\n{\"q\":\"\",\"a\":0}\n{\"q\":\"y\",\"a\":-1}\n{\"q\":\"z\",\"a\":1}")
	yaml := "from: " + path + "\nmap: {question: q, answer: a, labels: [no, yes]}"
	_, err := one(t, yaml, "train")
	require.ErrorContains(t, err, "row 2: no question")
	require.Contains(t, fault.Hint(err), "skip_bad")
	sources, err := parseSources([]byte("sources: [{from: " + path + ", skip_bad: true, licence: MIT, map: {question: q, answer: a, labels: [no, yes]}}]"))
	require.NoError(t, err)
	d, err := Load(t.Context(), nil, sources, nil)
	require.NoError(t, err)
	s, err := Sample(t.Context(), d, Recipe{})
	require.NoError(t, err)
	require.Equal(t, 2, s.Len())
	require.ElementsMatch(t, []string{"train-1", "train-4"}, []string{s.Groups[0].Rows[1].ID, s.Groups[0].Rows[0].ID}, "an id is of the file, whatever is left out")
	require.Len(t, s.Files, 1)
	require.Regexp(t, `^d train: 2 rows, 2 more left out of d.jsonl, sha256 [0-9a-f]{64}$`, s.Files[0].String())
}

// fakeHub is data sets of the hub in folders of this machine.
func fakeHub(t *testing.T, folder string) Fetch {
	return func(_ context.Context, address string, want func([]string) ([]string, error)) (Hub, error) {
		var names []string
		require.NoError(t, filepath.WalkDir(folder, func(p string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				rel, _ := filepath.Rel(folder, p)
				names = append(names, filepath.ToSlash(rel))
			}
			return err
		}))
		picked, err := want(names)
		h := Hub{Address: strings.Replace(address, "hf://", "hf://datasets/", 1) + "@0123", Files: map[string]string{}}
		for _, name := range picked {
			h.Files[name] = filepath.Join(folder, filepath.FromSlash(name))
		}
		return h, err
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	for name, rows := range map[string]int{"one/train-1.jsonl": 2, "one/train-0.jsonl": 3, "one/validation.jsonl": 1, "two/test.jsonl": 1, "README.md": 1} {
		var b strings.Builder
		for i := range rows {
			fmt.Fprintf(&b, "{\"question\":\"%s %d?\",\"choices\":[\"a\",\"b\"],\"answer\":%d}\n", name, i, i%2)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	fetch := fakeHub(t, dir)
	load := func(names []string, yaml string) (*Data, error) {
		var sources []Source
		if yaml != "" {
			var err error
			sources, err = parseSources([]byte(yaml))
			require.NoError(t, err)
		}
		return Load(t.Context(), names, sources, fetch)
	}
	_, err := load([]string{"hf://garden/beds"}, "")
	require.ErrorContains(t, err, "several data sets, in one and two")
	_, err = load(nil, "sources: [{from: hf://garden/beds, splits: {train: one/*.csv}}]")
	require.ErrorContains(t, err, `no file fits "one/*.csv"; there are README.md, one/train-0.jsonl`)

	// Files in the order of their names, through which ids count on.
	d, err := load([]string{garden(t)}, "sources: [{from: hf://garden/plots, licence: CC0-1.0, family: boolq-like, splits: {train: one/train-*.jsonl, dev: one/val*, test: two/*}}]")
	require.NoError(t, err)
	require.Equal(t, []string{"beds", "plots", "sums", "tools"}, d.Datasets())
	require.Equal(t, Info{"CC0-1.0", true, "boolq-like"}, d.About("plots"))
	require.Equal(t, Info{Unknown, false, "beds"}, d.About("beds"))
	rows, err := d.All("plots", "train")
	require.NoError(t, err)
	require.Equal(t, "one/train-0.jsonl 0?", rows[0].Question)
	require.Equal(t, "one/train-1.jsonl 0?", rows[3].Question)
	require.Equal(t, "train-4", rows[3].ID)
	eval, err := d.EvalSplit("plots")
	require.NoError(t, err)
	require.Equal(t, "test", eval)

	// What is permissive stays; a family of a source can be left out.
	s, err := Sample(t.Context(), d, Recipe{PermissiveOnly: true})
	require.NoError(t, err)
	require.Equal(t, []Count{{Dataset: "plots", Rows: 5, Available: 5, Subjects: []string{""}, Licence: "CC0-1.0", Family: "boolq-like"}}, s.Counts)
	require.Len(t, s.Files, 2)
	require.Equal(t, "hf://datasets/garden/plots@0123/one/train-0.jsonl", s.Files[0].Name)
	require.Equal(t, 3, s.Files[0].Rows)
	s, err = Sample(t.Context(), d, Recipe{Exclude: Exclude{Families: []string{"boolq-like"}}})
	require.NoError(t, err)
	for _, c := range s.Counts {
		require.NotEqual(t, "plots", c.Dataset)
	}
	require.Equal(t, "beds/train.jsonl.gz", s.Files[0].Name)

	// The catalogue knows a data set by its name, from wherever it comes.
	d, err = load(nil, "sources: [{from: hf://garden/plots, dataset: arc_easy, splits: {train: one/train-*}}]")
	require.NoError(t, err)
	require.Equal(t, Info{"CC BY-SA 4.0", false, "science"}, d.About("arc_easy"))

	// By the names of the files; a folder of this machine alike.
	d, err = load(nil, "sources: [{from: "+filepath.Join(dir, "one")+", dataset: x}]")
	require.NoError(t, err)
	rows, err = d.All("x", "train", "dev")
	require.NoError(t, err)
	require.Len(t, rows, 6)
	// A file of sources, and a file of rows.
	d, err = load([]string{file(t, "mine.yaml", "sources: [{from: hf://garden/plots, splits: {train: one/train-*}}]"), filepath.Join(dir, "two", "test.jsonl")}, "")
	require.NoError(t, err)
	require.Equal(t, []string{"plots", "test"}, d.Datasets())

	_, err = load([]string{filepath.Join(dir, "two", "test.jsonl"), filepath.Join(dir, "two", "test.jsonl")}, "")
	require.ErrorContains(t, err, "comes from two places")
	_, err = load(nil, "")
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	_, err = Load(t.Context(), []string{"hf://a/b"}, nil, nil)
	require.ErrorContains(t, err, "nothing here can fetch it")
	_, err = load([]string{filepath.Join(dir, "none.yaml")}, "")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = load([]string{file(t, "bad.yaml", "source: []")}, "")
	require.ErrorContains(t, err, "source")
}

// A licence counts as permissive only by a name that is known as such.
func TestPermissive(t *testing.T) {
	for licence, want := range map[string]bool{
		"MIT": true, "Apache-2.0": true, "CC BY 4.0": true, "cc-by-4.0": true, "CC0-1.0": true, "ODC-BY 1.0": true, "AFL-3.0": true, "BSD-3-Clause": true,
		"CC BY-SA 4.0": false, "cc-by-sa-3.0": false, "CC BY-NC 4.0": false, "CC BY-ND 4.0": false, "GPL-3.0": false, "unknown": false, "": false, "other": false,
		"AI2 public release, none stated": false, "Mitigated": false, "ODbL": false, "CC BY-NC-SA 2.0": false,
	} {
		require.Equal(t, want, permissive(licence), licence)
	}
	require.True(t, About("boolq").Licence == "CC BY-SA 3.0" && !About("boolq").Permissive)
	require.True(t, About("piqa").Permissive && About("winogrande").Permissive && About("clinc150").Permissive)
	require.False(t, About("social_iqa").Permissive)
}

func FuzzRecords(f *testing.F) {
	f.Add("jsonl", []byte(`{"q":"x","c":{"text":["a","b"],"label":["A","B"]},"a":"B"}`))
	f.Add("csv", []byte("q,c,a\nx,y,0\n"))
	f.Add("tsv", []byte("\ufeffq\ta\n\"x\"\ty"))
	maps := []Map{
		{Question: "q", Choices: Columns{"c.text"}, Keys: "c.label", Answer: "a"},
		{Question: "q", Choices: Columns{"c", "q"}, Answer: "a", AnswerIs: "letter"},
		{Question: "q", Labels: []string{"x", "y"}, Answer: "a"},
		{Question: "q", Answer: "a", Subject: "c"},
	}
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		failed := false
		for rec, err := range textRecords(kind, bytes.NewReader(data)) {
			if failed {
				t.Fatal("went on after an error")
			}
			if failed = err != nil; failed {
				continue
			}
			for _, m := range maps {
				if row, err := m.row("d", "1", rec); err == nil && (row.Gold() == "" || row.Question == "") {
					t.Fatalf("unsound row %+v", row)
				}
			}
		}
	})
}

func FuzzParquet(f *testing.F) {
	data, err := os.ReadFile("testdata/hub.parquet")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	m := Map{Question: "question", Choices: Columns{"choices.text"}, Keys: "choices.label", Answer: "answerKey"}
	f.Fuzz(func(t *testing.T, data []byte) {
		for rec, err := range parquetRecords(bytes.NewReader(data), int64(len(data))) {
			if err == nil {
				_, _ = m.row("d", "1", rec)
			}
		}
	})
}

func FuzzSources(f *testing.F) {
	f.Add([]byte("sources: [{from: hf://a/b, splits: {train: x*}, map: {question: q, choices: [a, b], answer: c}}]"))
	f.Add([]byte("sources: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sources, err := parseSources(data)
		if err != nil {
			return
		}
		for i := range sources {
			_, _ = sources[i].assign([]string{"train.csv", "a/train.csv", "x"})
		}
	})
}
