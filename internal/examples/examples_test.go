package examples

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
)

func parse(t testing.TB, name, text string) *Set {
	t.Helper()
	set, err := Parse(name, strings.NewReader(text), Options{})
	require.NoError(t, err)
	return set
}

func TestFormats(t *testing.T) {
	two := []Example{{Question: "Is it open?", Answer: "yes", Labelled: true, Line: 2}, {Question: "And \"now\", or\nlater?", Line: 3}}
	for name, c := range map[string]struct {
		file, text string
		want       []Example
	}{
		"csv":           {"a.csv", "question,answer\nIs it open?,yes\n\"And \"\"now\"\", or\nlater?\",\n", two},
		"bom and crlf":  {"a.csv", "\ufeffQuestion , ANSWER\r\nIs it open?,yes\r\n\"And \"\"now\"\", or\r\nlater?\",\r\n\r\n , \r\n", two},
		"no extension":  {"a", "question,answer\nIs it open?,yes\n\"And \"\"now\"\", or\nlater?\",", two},
		"semicolons":    {"a.csv", "question;answer\nIs it open?;yes\n\"And \"\"now\"\", or\nlater?\";\n", two},
		"tabs":          {"a.tsv", "question\tanswer\nIs it open?\tyes\n\"And \"\"now\"\", or\nlater?\"\t\n", two},
		"columns moved": {"a.txt", "answer,question\nyes,Is it open?\n,\"And \"\"now\"\", or\nlater?\"\n", two},
		"one column":    {"a", "question\nIs it open?", []Example{{Question: "Is it open?", Line: 2}}},
		"choices": {"a.csv", "question,answer,choices,context\nWhich?,b, a | b ,Some text\nWho?,,,\n",
			[]Example{{Question: "Which?", Answer: "b", Choices: []string{"a", "b"}, Context: "Some text", Labelled: true, Line: 2}, {Question: "Who?", Line: 3}}},
		"jsonl": {"a.jsonl", "\n{\"question\": \"Which?\", \"answer\": \"b\", \"choices\": [\"a\", \"b\"], \"context\": null}\n{\"question\":\"Who?\",\"choices\":\"x|y\"}",
			[]Example{{Question: "Which?", Answer: "b", Choices: []string{"a", "b"}, Labelled: true, Line: 2}, {Question: "Who?", Choices: []string{"x", "y"}, Line: 3}}},
		"jsonl by content": {"stdin", `{"question": "Who?"}`, []Example{{Question: "Who?", Line: 1}}},
		"messages": {"a.jsonl", `{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
{"messages": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}, {"role": "user", "content": [{"type": "text", "text": "Thr"}, {"type": "text", "text": "ee"}]}]}`,
			[]Example{{Question: "Hi", Answer: "Hello", Context: "Be kind.", Labelled: true, Line: 1}, {Question: "Three", Context: "user: One\nassistant: Two", Line: 2}}},
		"lines":     {"stdin", "Where is it?\n\n  Who, when, and why?  \n", []Example{{Question: "Where is it?", Line: 1}, {Question: "Who, when, and why?", Line: 3}}},
		"old lines": {"a.txt", "Where is it?\rWho?", []Example{{Question: "Where is it?", Line: 1}, {Question: "Who?", Line: 2}}},
		"bracket":   {"a.txt", "[urgent] Where is it?", []Example{{Question: "[urgent] Where is it?", Line: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			set := parse(t, c.file, c.text)
			if diff := cmp.Diff(c.want, set.Examples); diff != "" {
				t.Error(diff)
			}
			require.Equal(t, c.file, set.Source)
			require.Nil(t, set.Labels)
		})
	}
}

// Labels are inferred only where they are the rows' own answers.
func TestInferredLabels(t *testing.T) {
	answers := "question,answer\na,x\nb,x\nc,y\nd,y\ne,z\nf,z\n"
	for name, c := range map[string]struct {
		text   string
		labels []string
		want   bool
	}{
		"from answers": {answers, nil, true},
		"named":        {answers, []string{"x", "y", "z"}, false},
		"from choices": {"question,answer,choices\na,x,x|y\nb,y,x|y\n", nil, false},
		"none":         {"question,answer\na,x\nb,y\n", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Parse("a.csv", strings.NewReader(c.text), Options{Labels: c.labels})
			require.NoError(t, err)
			require.Equal(t, c.want, set.Inferred)
		})
	}
}

func TestErrors(t *testing.T) {
	for name, c := range map[string]struct{ file, text, where, why, hint string }{
		"empty":            {"a.csv", " \n\n", "a.csv:", "empty", "--template"},
		"header only":      {"a.csv", "question,answer\n", "a.csv:", "no example", "--template"},
		"utf-16":           {"a.csv", "\xff\xfeq\x00", "a.csv:", "UTF-16", "UTF-8"},
		"nul":              {"a.csv", "question\nab\x00c", "a.csv:2:", "NUL", "CSV"},
		"latin-1":          {"a.csv", "question\nok\ncaf\xe9", "a.csv:3:", "0xe9", "iconv"},
		"unknown column":   {"a.csv", "question,anwser\na,b", "a.csv:1:", `"anwser"`, `"answer"`},
		"misspelt alone":   {"a", "qestion,foo\na,b", "a:1:", `"qestion"`, `"question"`},
		"column twice":     {"a.csv", "question,question\na,b", "a.csv:1:", "twice", ""},
		"no question":      {"a.csv", "answer,context\na,b", "a.csv:1:", `"question"`, "first line"},
		"no header":        {"a.csv", "My chain is off,chain\n", "a.csv:1:", "unknown column", "first line"},
		"too many fields":  {"a.csv", "question,answer\nWhy, oh why?,because\n", "a.csv:2:", "3 fields", "quotes"},
		"bare quote":       {"a.csv", "question,answer\nok,ok\nthe 5\" one,b\n", "a.csv:3:", "bare", "quotes"},
		"open quote":       {"a.csv", "question,answer\n\"the,b\n", "a.csv:2:", "quote", "quotes"},
		"no text":          {"a.csv", "question,answer\n ,b\n", "a.csv:2:", "question is empty", ""},
		"one choice":       {"a.csv", "question,choices\na,b\n", "a.csv:2:", "choices", "a|b|c"},
		"blank choice":     {"a.csv", "question,choices\na,b||c\n", "a.csv:2:", "choices", "||"},
		"choice twice":     {"a.csv", "question,choices\na,b|c|b\n", "a.csv:2:", "twice", ""},
		"not a choice":     {"a.csv", "question,answer,choices\na,Yes,yes|no\n", "a.csv:2:", `"Yes"`, `"yes"`},
		"contradiction":    {"a.csv", "question,answer\nIs it?,yes\nx,y\nis  IT?,no\n", "a.csv:4:", "line 2", "one of the two"},
		"label spelling":   {"a.csv", "question,answer\na,Tyre\nb,tyre\nc,chain\nd,bell\ne,Tyre\nf,tyre\ng,chain\nh,bell\n", "a.csv:", "case", "alike"},
		"json array":       {"a.json", `[{"question": "a"}]`, "a.json:1:", "array", "jq"},
		"json broken":      {"a.jsonl", "{\"question\": \"a\"}\n{\"question\": ", "a.jsonl:2:", "JSON", "jq"},
		"json pretty":      {"a.jsonl", "{\n  \"question\": \"a\"\n}", "a.jsonl:1:", "JSON", "jq"},
		"json not object":  {"a.jsonl", "null", "a.jsonl:1:", "object", "jq"},
		"json unknown":     {"a.jsonl", `{"question": "a", "anser": "b"}`, "a.jsonl:1:", `"anser"`, `"answer"`},
		"json number":      {"a.jsonl", `{"question": "a", "answer": 3}`, "a.jsonl:1:", "answer is not text", "quotes"},
		"json choices":     {"a.jsonl", `{"question": "a", "choices": {"a": 1}}`, "a.jsonl:1:", "choices", "a|b"},
		"messages beside":  {"a.jsonl", `{"question": "a", "messages": []}`, "a.jsonl:1:", "messages", ""},
		"messages empty":   {"a.jsonl", `{"messages": []}`, "a.jsonl:1:", "messages", ""},
		"messages role":    {"a.jsonl", `{"messages": [{"role": "tool", "content": "a"}]}`, "a.jsonl:1:", `"tool"`, "roles"},
		"messages turn":    {"a.jsonl", `{"messages": [{"role": "assistant", "content": "a"}]}`, "a.jsonl:1:", "user turn", ""},
		"messages image":   {"a.jsonl", `{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}`, "a.jsonl:1:", "image_url", "text"},
		"messages content": {"a.jsonl", `{"messages": [{"role": "user", "content": 7}]}`, "a.jsonl:1:", "content", ""},
		"long field":       {"a.txt", strings.Repeat("x", maxField+1), "a.txt:1:", "bytes", "shorten"},
		"many rows":        {"a.txt", strings.Repeat("x\n", MaxRows+1), fmt.Sprintf("a.txt:%d:", MaxRows+1), "rows", "enough"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.file, strings.NewReader(c.text), Options{})
			require.Error(t, err)
			require.Contains(t, err.Error(), "read examples "+c.where)
			require.Contains(t, err.Error(), c.why)
			require.NotEmpty(t, fault.Hint(err))
			require.Contains(t, fault.Hint(err), c.hint)
		})
	}
	_, err := Parse("big", &endless{}, Options{})
	require.ErrorContains(t, err, "64 MiB")
	_, err = Parse("torn", iotest.ErrReader(errors.New("the line went dead")), Options{})
	require.ErrorContains(t, err, "dead")
}

// endless is a file without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	_, err := Read(filepath.Join(dir, "none.csv"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Contains(t, fault.Hint(err), "--template")
	_, err = Read(dir, Options{})
	require.ErrorContains(t, err, "folder")
	path := filepath.Join(dir, "a.csv")
	require.NoError(t, os.WriteFile(path, []byte(Template()), 0o600))
	set, err := Read(path, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"collection", "complaint", "stock"}, set.Labels)
	require.Equal(t, path, set.Source)

	in, err := os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	stdin := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = stdin }()
	set, err = Read("-", Options{})
	require.NoError(t, err)
	require.Equal(t, "stdin", set.Source)
	require.Len(t, set.Examples, 6)
}

func TestLabels(t *testing.T) {
	rows := func(answers ...string) (ex []Example) {
		for i, a := range answers {
			ex = append(ex, Example{Question: fmt.Sprint(i), Answer: a, Labelled: a != ""})
		}
		return ex
	}
	with := func(ex []Example, choices ...[]string) []Example {
		for i := range ex {
			ex[i].Choices = choices[i%len(choices)]
		}
		return ex
	}
	yes := []string{"yes", "no"}
	for name, c := range map[string]struct {
		ex   []Example
		want []string
	}{
		"repeated answers":      {rows("a", "b", "c", "a", "b", "c"), []string{"a", "b", "c"}},
		"some unlabelled":       {rows("a", "b", "c", "a", "b", "c", "", ""), []string{"a", "b", "c"}},
		"hardly repeated":       {rows("a", "b", "c", "a", "b"), nil},
		"two answers":           {rows("a", "b", "a", "b", "a", "b"), nil},
		"unlabelled":            {rows("", "", ""), nil},
		"none":                  {nil, nil},
		"one choice set":        {with(rows("yes", "no", ""), yes), []string{"no", "yes"}},
		"in any order":          {with(rows("yes", "no"), yes, []string{"no", "yes"}), []string{"no", "yes"}},
		"different choices":     {with(rows("a", "b", "c", "a", "b", "c"), []string{"a", "b", "c"}, []string{"b", "c", "a", "d"}), nil},
		"a row without choices": {append(with(rows("yes", "no"), yes), rows("")...), nil},
		"one row":               {with(rows("yes"), yes), nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, Labels(c.ex)) })
	}
}

func TestGivenLabels(t *testing.T) {
	text := "question,answer\nx,red\ny,blue\nz,\n"
	set, err := Parse("a.csv", strings.NewReader(text), Options{Labels: []string{"red", " blue ", "green", "red"}})
	require.NoError(t, err)
	require.Equal(t, []string{"blue", "green", "red"}, set.Labels)
	for _, e := range set.Examples {
		require.Equal(t, set.Labels, e.Choices)
	}
	_, err = Parse("a.csv", strings.NewReader(text), Options{Labels: []string{"rad", "blue"}})
	require.ErrorContains(t, err, `a.csv:2: field answer: "red"`)
	require.Contains(t, fault.Hint(err), `"rad"`)
	_, err = Parse("a.csv", strings.NewReader(text), Options{Labels: []string{"red"}})
	require.ErrorContains(t, err, "two labels")
}

func TestDuplicates(t *testing.T) {
	set := parse(t, "a.csv", "question,answer\na,\nb,x\nA,y\nb,x\nb,\n")
	require.Equal(t, 3, set.Duplicates)
	require.Len(t, set.Examples, 2)
	require.Equal(t, "y", set.Examples[0].Answer, "a labelled row takes the place of the same unlabelled one")
}

// TestFormatsAgree: the same rows written as CSV and as JSON lines read the same.
func TestFormatsAgree(t *testing.T) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab \",\n;é日|{[")), 1, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		var table bytes.Buffer
		var lines strings.Builder
		w := csv.NewWriter(&table)
		_ = w.Write([]string{"question", "answer", "context"})
		for i := range rapid.IntRange(1, 8).Draw(t, "rows") {
			q, a, c := fmt.Sprint(i, " ", text.Draw(t, "q")), text.Draw(t, "a"), text.Draw(t, "c")
			_ = w.Write([]string{q, a, c})
			row, _ := json.Marshal(map[string]string{"question": q, "answer": a, "context": c})
			lines.Write(append(row, '\n'))
		}
		w.Flush()
		want, errC := Parse("a", &table, Options{})
		got, errJ := Parse("a", strings.NewReader(lines.String()), Options{})
		if errC != nil || errJ != nil {
			if errC == nil || errJ == nil {
				t.Fatalf("csv %v, json %v", errC, errJ)
			}
			return
		}
		for i := range want.Examples {
			want.Examples[i].Line = got.Examples[i].Line
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{Template(), "\ufeffquestion;answer;choices\na;b;a|b\n", `{"question":"a","choices":["a","b"]}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}`, "a\nb\r\n", "question\tanswer\n\"a", "[1]", "\xff\xfe"} {
		f.Add("x.csv", []byte(s))
		f.Add("x", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		set, err := Parse(name, bytes.NewReader(data), Options{})
		if err != nil {
			var e *fault.Error
			if !errors.As(err, &e) || fault.Hint(err) == "" {
				t.Fatalf("error without a hint: %v", err)
			}
			return
		}
		if len(set.Examples) == 0 {
			t.Fatal("no examples and no error")
		}
		for _, e := range set.Examples {
			if e.Question == "" || e.Line < 1 || e.Labelled != (e.Answer != "") {
				t.Fatalf("%+v", e)
			}
		}
	})
}
