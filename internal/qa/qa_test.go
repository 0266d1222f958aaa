package qa

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
)

func compress(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, err := zw.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	return b.Bytes()
}

// put writes one split of raw lines.
func put(t testing.TB, dir, dataset, split string, lines ...string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, dataset), 0o755))
	data := compress(t, strings.Join(lines, "\n")+"\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, dataset, split+suffix), data, 0o644))
}

func jsonRow(t testing.TB, dataset, subject, id string, choices []string, answer any) string {
	t.Helper()
	m := map[string]any{"dataset": dataset, "subject": nil, "id": id, "question": "which of " + id + "?",
		"context": nil, "choices": choices, "answer": answer}
	if subject != "" {
		m["subject"] = subject
	}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return string(b)
}

// garden is a small data folder of our own.
func garden(t testing.TB) string {
	dir := t.TempDir()
	yes := []string{"yes", "no"}
	var train, test, tools []string
	for i := range 40 {
		train = append(train, jsonRow(t, "beds", "", fmt.Sprint("a", i), yes, i%2))
		test = append(test, jsonRow(t, "beds", "", fmt.Sprint("t", i), yes, i%2))
		subject := []string{"spade", "rake"}[i%2]
		tools = append(tools, jsonRow(t, "tools", subject, fmt.Sprint("x", i), []string{subject + " a", subject + " b"}, 0))
	}
	put(t, dir, "beds", "train", train...)
	put(t, dir, "beds", "test", test...)
	put(t, dir, "tools", "dev", tools...)
	put(t, dir, "tools", "test", jsonRow(t, "tools", "rake", "y", []string{"p", "q"}, 1))
	put(t, dir, "sums", "train", jsonRow(t, "sums", "", "s1", []string{}, "18"), jsonRow(t, "sums", "", "s2", []string{}, "7"))
	put(t, dir, "sums", "all", jsonRow(t, "sums", "", "s3", []string{}, "9"))
	return dir
}

func TestOpenAndSplits(t *testing.T) {
	dir := garden(t)
	nested := t.TempDir()
	require.NoError(t, os.Rename(dir, filepath.Join(nested, "qa")))
	d, err := Open(nested)
	require.NoError(t, err)
	require.Equal(t, []string{"beds", "sums", "tools"}, d.Datasets())

	for name, want := range map[string]struct {
		eval  string
		train []string
	}{"beds": {"test", []string{"train"}}, "tools": {"test", []string{"dev"}}, "sums": {"all", []string{"train"}}} {
		eval, err := d.EvalSplit(name)
		require.NoError(t, err)
		require.Equal(t, want.eval, eval, name)
		require.Equal(t, want.train, d.TrainSplits(name), name)
	}
	rows, err := d.All("sums", "train")
	require.NoError(t, err)
	require.Equal(t, "18", rows[0].Gold())
	require.Equal(t, -1, rows[0].Answer)

	_, err = Open(t.TempDir())
	require.ErrorContains(t, err, "no data set")
}

// withSplits is a data set x that has splits, without files.
func withSplits(names ...string) *Data {
	s := &set{splits: map[string]*split{}}
	for _, n := range names {
		s.splits[n] = &split{}
	}
	return &Data{sets: map[string]*set{"x": s}}
}

// A set with a single dev split is evaluated on it, so none of it is trained on.
func TestNoRowIsBothTrainedOnAndScored(t *testing.T) {
	for _, splits := range [][]string{{"dev"}, {"dev", "val"}, {"dev", "val", "test"}, {"all"}, {"train", "dev"}, {"all", "val"}} {
		d := withSplits(splits...)
		eval, err := d.EvalSplit("x")
		require.NoError(t, err)
		require.NotContains(t, d.TrainSplits("x"), eval, splits)
	}
	_, err := withSplits("train").EvalSplit("x")
	require.ErrorContains(t, err, "none of test, dev and all")
}

func TestBadRows(t *testing.T) {
	good := jsonRow(t, "d", "", "1", []string{"a", "b"}, 0)
	for name, c := range map[string]struct{ line, want string }{
		"not json":       {"{", "unexpected end"},
		"empty":          {"", "empty line"},
		"other data set": {jsonRow(t, "e", "", "2", []string{"a", "b"}, 0), `data set "e"`},
		"no id":          {jsonRow(t, "d", "", "", []string{"a", "b"}, 0), "no id"},
		"index past end": {jsonRow(t, "d", "", "2", []string{"a", "b"}, 2), "answer 2 of 2"},
		"negative index": {jsonRow(t, "d", "", "2", []string{"a", "b"}, -1), "answer -1 of 2"},
		"fraction":       {jsonRow(t, "d", "", "2", []string{"a", "b"}, 0.5), "index of a choice"},
		"text answer":    {jsonRow(t, "d", "", "2", []string{"a", "b"}, "a"), "index of a choice"},
		"null answer":    {jsonRow(t, "d", "", "2", []string{"a", "b"}, nil), "no answer"},
		"one choice":     {jsonRow(t, "d", "", "2", []string{"a"}, 0), "single choice"},
		"empty choice":   {jsonRow(t, "d", "", "2", []string{"a", " "}, 0), "empty choice"},
		"repeated":       {jsonRow(t, "d", "", "2", []string{"a", "b", "a"}, 0), "choice 2 too"},
		"number as text": {jsonRow(t, "d", "", "2", nil, 3), "must be a string"},
		"not utf-8":      {strings.Replace(good, "which", "\xff", 1), "not UTF-8"},
		"too long":       {`{"dataset":"` + strings.Repeat("x", MaxLine) + `"}`, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, "d", "test", good, c.line, good)
			d, err := Open(dir)
			require.NoError(t, err)
			_, err = d.All("d", "test")
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "test.jsonl.gz:2", "the place")
			require.NotEmpty(t, fault.Hint(err))
		})
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	good := jsonRow(t, "d", "", "1", []string{"a", "b"}, 0)
	put(t, dir, "d", "test", good, good)
	d, err := Open(dir)
	require.NoError(t, err)
	_, err = d.All("d", "test")
	require.ErrorContains(t, err, `id "1" twice`)
	_, err = d.All("d", "train")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = d.All("../d", "test")
	require.ErrorIs(t, err, os.ErrNotExist)

	path := filepath.Join(dir, "d", "test"+suffix)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data[:len(data)-9], 0o644))
	for _, err = range d.Rows("d", "test") {
	}
	require.ErrorContains(t, err, "unexpected EOF")
	require.NoError(t, os.WriteFile(path, []byte("plain"), 0o644))
	_, err = d.All("d", "test")
	require.Error(t, err)
}

func TestLabelSet(t *testing.T) {
	row := func(choices ...string) Row { return Row{Choices: choices} }
	for name, c := range map[string]struct {
		rows []Row
		want []string
	}{
		"none":               {nil, nil},
		"one row":            {[]Row{row("a", "b")}, nil},
		"same":               {[]Row{row("b", "a"), row("b", "a")}, []string{"b", "a"}},
		"another order":      {[]Row{row("b", "a"), row("a", "b")}, []string{"a", "b"}},
		"another choice":     {[]Row{row("a", "b"), row("a", "c")}, nil},
		"repeated":           {[]Row{row("a", "a"), row("a", "a")}, nil},
		"fewer":              {[]Row{row("a", "b", "c"), row("a", "b")}, nil},
		"free text":          {[]Row{row(), row()}, nil},
		"one free text":      {[]Row{row("a", "b"), row()}, nil},
		"first is free text": {[]Row{row(), row("a", "b")}, nil},
	} {
		require.Equal(t, c.want, LabelSet(c.rows), name)
	}
}

// The label set does not depend on the order of rows.
func TestLabelSetOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := []string{"a", "b", "c", "d"}
		n := rapid.IntRange(2, 6).Draw(t, "rows")
		rows := make([]Row, n)
		for i := range rows {
			rows[i].Choices = rapid.Permutation(base).Draw(t, "choices")
		}
		want := LabelSet(rows)
		if got := LabelSet(rapid.Permutation(rows).Draw(t, "rows")); !slices.Equal(got, want) {
			t.Fatalf("%v, then %v", want, got)
		}
	})
}

func TestShuffle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "rows")
		rows := make([]Row, n)
		for i := range rows {
			rows[i] = Row{Dataset: "d", Subject: fmt.Sprint(i % 3), ID: fmt.Sprint(i)}
		}
		seed := rapid.Uint64().Draw(t, "seed")
		other := rapid.Permutation(rows).Draw(t, "order")
		fewer := slices.Clone(rows[:n/2])
		Shuffle(rows, seed)
		Shuffle(other, seed)
		Shuffle(fewer, seed)
		for i := range rows {
			if rows[i].ID != other[i].ID {
				t.Fatalf("row %d depends on the order of the file", i)
			}
		}
		kept := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
			return !slices.ContainsFunc(fewer, func(f Row) bool { return f.ID == r.ID })
		})
		for i := range kept {
			if kept[i].ID != fewer[i].ID {
				t.Fatalf("row %d depends on other rows", i)
			}
		}
	})
}

func TestContent(t *testing.T) {
	a := Row{ID: "1", Question: "q", Choices: []string{"x", "y"}, Answer: 0}
	b := Row{ID: "2", Question: "q", Choices: []string{"y", "x"}, Answer: 1}
	require.Equal(t, a.Content(), b.Content())
	b.Context = "c"
	require.NotEqual(t, a.Content(), b.Content())
}

func TestValidate(t *testing.T) {
	good := Recipe{Seed: 7, Caps: Caps{10, map[string]int{"beds": 20}}, MaxRows: 50, Exclude: Exclude{Subjects: []string{"tools/rake"}}}
	require.NoError(t, good.Validate())
	for want, r := range map[string]Recipe{
		"max_rows is -1":                     {MaxRows: -1},
		"caps.default is -2":                 {Caps: Caps{Default: -2}},
		"caps.datasets.x is -2":              {Caps: Caps{Datasets: map[string]int{"x": -2}}},
		`exclude.subjects: "rake" is not`:    {Exclude: Exclude{Subjects: []string{"rake"}}},
		`exclude.subjects: "/" is not datas`: {Exclude: Exclude{Subjects: []string{"/"}}},
	} {
		require.ErrorContains(t, r.Validate(), want)
	}
}

func TestSample(t *testing.T) {
	d, err := Open(garden(t))
	require.NoError(t, err)
	ctx := context.Background()

	whole, err := Sample(ctx, d, Recipe{Seed: 1})
	require.NoError(t, err)
	require.Equal(t, 82, whole.Len())
	require.Equal(t, []string{"yes", "no"}, whole.Groups[0].Labels)
	require.Nil(t, whole.Groups[1].Labels, "free text has no labels")
	require.Equal(t, []string{"rake a", "rake b"}, whole.Groups[2].Labels, "labels are a subject's")
	require.Equal(t, Unknown, whole.Counts[0].Licence)

	part, err := Sample(ctx, d, Recipe{Seed: 1, Caps: Caps{Default: 5, Datasets: map[string]int{"sums": 1}},
		Exclude: Exclude{Subjects: []string{"tools/rake"}}})
	require.NoError(t, err)
	require.Equal(t, []Count{
		{Dataset: "beds", Rows: 5, Available: 40, Subjects: []string{""}, Licence: Unknown, Family: "beds"},
		{Dataset: "sums", Rows: 1, Available: 2, Subjects: []string{""}, Licence: Unknown, Family: "sums"},
		{Dataset: "tools", Rows: 5, Available: 20, Subjects: []string{"spade"}, Licence: Unknown, Family: "tools"},
	}, part.Counts)
	require.Equal(t, whole.Groups[0].Rows[:5], part.Groups[0].Rows, "a cap takes the first of the order")

	one, err := Sample(ctx, d, Recipe{Seed: 1, MaxRows: 1, Exclude: Exclude{Datasets: []string{"tools", "sums"}}})
	require.NoError(t, err)
	require.Equal(t, 1, one.Len())
	require.Equal(t, []string{"yes", "no"}, one.Groups[0].Labels, "known before the cap")
	require.Equal(t, one.Groups[0].Rows[0].ID, one.Ordered(1)[0].ID)

	for want, r := range map[string]Recipe{
		`no data set "bed"`:      {Exclude: Exclude{Datasets: []string{"bed"}}},
		`no data set "familie"`:  {Exclude: Exclude{Families: []string{"familie"}}},
		`no subject "hoe"`:       {Exclude: Exclude{Subjects: []string{"tools/hoe"}}},
		`no data set "tool/hoe"`: {Exclude: Exclude{Subjects: []string{"tool/hoe"}}},
		`no data set "cap"`:      {Caps: Caps{Datasets: map[string]int{"cap": 1}}},
		"leaves none":            {PermissiveOnly: true},
		"below 0":                {MaxRows: -1},
	} {
		_, err := Sample(ctx, d, r)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	_, err = Sample(stopped, d, Recipe{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestFamilies(t *testing.T) {
	f := Families()
	require.Equal(t, []string{"boolq", "pubmedqa", "strategyqa"}, f[About("boolq").Family])
	n := 0
	for _, members := range f {
		n += len(members)
	}
	require.Equal(t, len(catalog), n)
	require.Equal(t, Info{Licence: Unknown, Family: "mine"}, About("mine"))
}

// The whole data folder, where CRAYON_DATA names it.
func TestDataFolder(t *testing.T) {
	dir := os.Getenv("CRAYON_DATA")
	if dir == "" {
		t.Skip("CRAYON_DATA is not set")
	}
	d, err := Open(dir)
	require.NoError(t, err)
	for _, name := range d.Datasets() {
		require.Contains(t, catalog, name)
		eval, err := d.EvalSplit(name)
		require.NoError(t, err)
		rows, err := d.All(name, append([]string{eval}, d.TrainSplits(name)...)...)
		require.NoError(t, err)
		require.NotEmpty(t, rows)
	}
	s, err := Sample(context.Background(), d, Recipe{Seed: 1, Caps: Caps{Default: 500},
		Exclude: Exclude{Families: []string{"boolq", "figqa"}, Subjects: []string{"clinc150/banking"}}})
	require.NoError(t, err)
	for _, g := range s.Groups {
		require.NotEqual(t, "yes-no", About(g.Dataset).Family)
		require.NotEqual(t, "banking", g.Subject)
		if g.Dataset == "clinc150" {
			require.Len(t, g.Labels, 15)
		}
	}
	for _, c := range s.Counts {
		t.Logf("%-14s %5d of %6d  %s", c.Dataset, c.Rows, c.Available, c.Licence)
	}
}

// Whatever the bytes, rows are sound or there is one error, and no panic.
func FuzzRows(f *testing.F) {
	f.Add([]byte(`{"dataset":"d","subject":null,"id":"1","question":"q","context":null,"choices":["a","b"],"answer":1}`))
	f.Add([]byte(`{"dataset":"d","subject":"s","id":"1","question":"q","context":"c","choices":[],"answer":"18"}`))
	f.Add([]byte("\n{\"answer\":1e400}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw bytes.Buffer
		zw := gzip.NewWriter(&raw)
		_, _ = zw.Write(text)
		_ = zw.Close()
		failed := false
		for row, err := range decode("x", "d", &raw) {
			if failed {
				t.Fatal("went on after an error")
			}
			if err != nil {
				failed = true
				continue
			}
			if row.Gold() == "" || row.Question == "" || row.Dataset != "d" {
				t.Fatalf("unsound row %+v", row)
			}
		}
		for range decode("x", "d", bytes.NewReader(text)) { // as a gzip stream itself
		}
	})
}
