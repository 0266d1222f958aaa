package privacy_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
	"crayon/internal/privacy"
	"crayon/internal/upstream/fake"
)

func parts(turns []fake.Turn) []privacy.Part {
	var out []privacy.Part
	for _, t := range turns {
		out = append(out, privacy.Part{Role: t.Role, Text: t.Content})
	}
	return out
}

func user(text string) []privacy.Part { return []privacy.Part{{Role: "user", Text: text}} }

func kinds(t *testing.T, s *privacy.Scanner, text string) []string {
	t.Helper()
	found, err := s.Scan(user(text))
	require.NoError(t, err)
	return privacy.KindsOf(found)
}

// TestPublished: numbers that their issuers publish as examples, and the same
// with a digit changed.
func TestPublished(t *testing.T) {
	s := privacy.Default()
	for text, kind := range map[string]string{
		"4111 1111 1111 1111":             privacy.Card,
		"5555-5555-5555-4444":             privacy.Card,
		"378282246310005":                 privacy.Card,
		"3782 822463 10005":               privacy.Card,
		"6011111111111117":                privacy.Card,
		"card4111111111111111exp":         privacy.Card,
		"4111|1111|1111|1111":             privacy.Card,
		"4111, 1111, 1111, 1111":          privacy.Card,
		"4111    1111    1111    1111":    privacy.Card,
		"4111•1111•1111•1111":             privacy.Card,
		"4.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1": privacy.Card,
		"4\u0332111 1111 1111 1111":       privacy.Card,
		"four one one one, one one one one, one one one one, one one one one": privacy.Card,
		"SSN: zero seven eight zero five one one two oh":                      privacy.ID,
		"078.05.1120":                      privacy.ID,
		"jane dot doe at example dot com":  privacy.Mail,
		"jane.doe AT example.com":          privacy.Mail,
		"DE89\n3704\n0044\n0532\n0130\n00": privacy.IBAN,
		"+33 (0)6 12 34 56 78":             privacy.Phone,
		"tel:+14155550132":                 privacy.Phone,
		"(11) 912345678":                   privacy.Phone,
		"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": privacy.Secret,
		"DE89 3704 0044 0532 0130 00":                                      privacy.IBAN,
		"gb82west12345698765432":                                           privacy.IBAN,
		"FR14 2004 1010 0505 0001 3M02 606":                                privacy.IBAN,
		"NO93 8601 1117 947":                                               privacy.IBAN,
		"MT84MALT011000012345MTLCAST001S":                                  privacy.IBAN,
		"CH9300762011623852957":                                            privacy.IBAN,
		"jane.doe@example.com":                                             privacy.Mail,
		"jane (at) example (dot) com":                                      privacy.Mail,
		"jürgen@müller.de":                                                 privacy.Mail,
		"+49 30 901820":                                                    privacy.Phone,
		"(415) 555-0132":                                                   privacy.Phone,
		"0049 30 901820":                                                   privacy.Phone,
		"020 7946 0958":                                                    privacy.Phone,
		"06 12 34 56 78":                                                   privacy.Phone,
		"call 4155550132":                                                  privacy.Phone,
		"(11) 91234-5678":                                                  privacy.Phone,
		"98765 43210":                                                      privacy.Phone,
		"078-05-1120":                                                      privacy.ID, // the wallet's number
		"my SSN is 078051120":                                              privacy.ID,
		"86095742719":                                                      privacy.ID, // Steuer-ID, the office's example
		"47 036 892 816":                                                   privacy.ID,
		"1 85 05 78 006 084 91":                                            privacy.ID, // NIR
		"12345678Z":                                                        privacy.ID, // DNI
		"X1234567L":                                                        privacy.ID, // NIE
		"RSSMRA85T10A562S":                                                 privacy.ID, // codice fiscale
		"QQ123456C is not, but AB 12 34 56 C":                              privacy.ID,
		"2341 2341 2346":                                                   privacy.ID, // Aadhaar
		"111.444.777-35":                                                   privacy.ID, // CPF
		"ghp_16C7e42F292c6912E7710c838347Ae178B4a":                         privacy.Secret,
		"AKIAIOSFODNN7EXAMPLE":                                             privacy.Secret,
		"xoxb-263594206564-2343594206574":                                  privacy.Secret,
		"-----BEGIN RSA PRIVATE KEY-----":                                  privacy.Secret,
		"password: hunter2!":                                               privacy.Secret,
		"postgres://crayon:s3cr3t-word@db.example/x":                       privacy.Secret,
		"Authorization: Bearer 8f3kd92jfk30fjq2k1dls0":                     privacy.Secret,
	} {
		require.Contains(t, kinds(t, s, "see "+text+" there"), kind, text)
	}
	for _, text := range []string{
		"4111 1111 1111 1112", "DE89 3704 9944 0532 0130 01", "5555555555554445", "86095742718", "1 85 05 78 006 084 92", "12345678A", "RSSMRA85T10A562T",
		"2341 2341 2347", "111.444.777-36", "000-12-3456", "QQ123456C", "BG123456A", "X1234567A",
		"in 1984 and 2021, 3 of 40 birds", "pi is 3.14159265358979323846", "01.02.2020", "2020-01-02 10:30", "1 2 3 4 5 6 7 8 9 10", "the year 2000 had 366 days",
		"sk-learn-pipeline-preprocessing-step", "the password is something one forgets", "version 1.2.3.4", "a - b = 12345678", "10 000 000 000", "1,234,567,890",
		"ISBN 978-3-16-148410-0", "0.0123456789", "e5f0b3c2a1d4", "x@y", "@everyone", "9 x 7 is what?", "I have 2 apples and 5 pears", "600 851 475 143",
		"one two three four five six seven eight nine ten", "4, 1, 1, 1, 1, 1", "1:10:30, 2:20:40, 3:30:50",
	} {
		require.Empty(t, kinds(t, s, text), text)
	}
}

// TestCorpus: every conversation of the corpus is found, as its kind or another.
func TestCorpus(t *testing.T) {
	cases := fake.PrivateCorpus(6, 2000)
	missed := 0
	for _, c := range cases {
		found, err := privacy.Default().Scan(parts(c.Turns))
		require.NoError(t, err)
		if len(found) == 0 {
			missed++
			t.Errorf("%s (%s) not found: %q", c.Kind, c.Form, c.Turns)
		}
	}
	t.Logf("%d of %d private conversations missed", missed, len(cases))
}

// TestOrdinaryConversations: of conversations with numbers, years, prices,
// measures, names with digits and abbreviations in every turn, at most 1 % are
// taken for private.
func TestOrdinaryConversations(t *testing.T) {
	talks := fake.OrdinaryCorpus(5, 400)
	flagged := 0
	for _, turns := range talks {
		found, err := privacy.Default().Scan(parts(turns))
		require.NoError(t, err)
		if len(found) > 0 {
			flagged++
			said := ""
			for _, x := range found[0].Spans {
				said += turns[x.Part].Content[x.Start:x.End] + " | "
			}
			t.Logf("%s: %q", found[0].Kind, said)
		}
	}
	t.Logf("%d of %d ordinary conversations flagged", flagged, len(talks))
	require.LessOrEqual(t, flagged, len(talks)/100)
}

// TestDictated: what is said in several turns is found, and what only looks like
// it is not.
func TestDictated(t *testing.T) {
	for _, x := range []struct {
		kind string // "" is none
		said []string
	}{
		{privacy.Card, []string{"it starts with 4111", "then 1111 1111", "and 1111 at the end"}},
		{privacy.Card, []string{"the first half is 4111 1111", "wait, is this safe?", "hang on", "and then 1111 1111"}},
		{privacy.Card, []string{"In 2021 I had 3 others, now it is 4111 1111", "the rest is 1111 1111"}},
		{privacy.Card, []string{"41 11", "11 11", "11 11", "11 11"}},
		{privacy.Card, []string{"I'll give it to you in bits. 4111 first", "1111 next", "1111 again", "and 1111, thanks"}},
		{privacy.Card, []string{"for my booking of 3 May at 14:30 the visa is 4111 1111", "it expires 12/27, and the remaining digits are 1111 1111"}},
		{privacy.Card, []string{"Meine Kartennummer beginnt mit 4111", "danach 1111", "dann 1111", "und am Ende 1111"}},
		{privacy.ID, []string{"ssn 078", "05 in the middle", "1120 last"}},
		{privacy.Phone, []string{"call me at, let me see, 415", "then 55501", "32"}},
		{privacy.Phone, []string{"it is 06", "then 12", "34", "56 please", "and 78 at the end"}},
		{privacy.ID, []string{"my SSN starts with 078", "05", "the rest is 1120"}},
		{privacy.IBAN, []string{"GB82 is how it starts", "then WEST 1234", "and 5698 7654 32"}},
		{privacy.Mail, []string{"it is jane.doe", "@example", "and .org at the end"}},
		{privacy.Secret, []string{"my key begins with ghp_16C7e42F292c", "and then 6912E7710c83", "the last are 8347Ae178B4a, thanks"}},
		{"", []string{"I have 4111 cows", "then 1111 sheep and 1111 hens", "and 1111 ducks"}},
		{"", []string{"What is 411 + 111?", "What is 111 + 111?", "What is 11 + 11?", "What is 1 + 1?"}},
		{"", []string{"Pick one.\nA. 4111\nB. 12\nC. 500\nD. 1111", "Pick one.\nA. 1111\nB. 12\nC. 500\nD. 1111", "Pick one.\nA. 1111\nB. 12\nC. 500\nD. 1111"}},
		{"", []string{"Who won in 2005?", "and in 1987?", "and in 1662?"}},
		{"", []string{"an E-mail of the 18th", "the well-known Over-confidence of the T-group", "Jean-Claude in 1935", "NAFTA and WWII"}},
		{"", []string{"heat it to 365 degrees", "for 500 people", "since 2017"}},
	} {
		var in []privacy.Part
		for _, said := range x.said {
			in = append(in, privacy.Part{Role: "user", Text: said}, privacy.Part{Role: "assistant", Text: "ok"})
		}
		found, err := privacy.Default().Scan(in)
		require.NoError(t, err)
		if x.kind == "" {
			require.Empty(t, found, "%q", x.said)
			continue
		}
		require.Contains(t, privacy.KindsOf(found), x.kind, "%q", x.said)
	}
}

// TestRedactedCorpus: with placeholders in, nothing of the value is left; and
// the reply's placeholders become the text again, however the reply is cut.
func TestRedactedCorpus(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	redacted, refused := 0, 0
	for _, c := range fake.PrivateCorpus(7, 600) {
		in := parts(c.Turns)
		out, undo, err := privacy.Default().Redact(in)
		if err != nil {
			require.ErrorIs(t, err, privacy.ErrScan)
			refused++
			continue
		}
		redacted++
		all, was := "", ""
		for i := range out {
			all, was = all+out[i].Text+"\n", was+in[i].Text+"\n"
		}
		require.NotContains(t, fake.Squeeze(all), c.Value, "%s: %q", c.Form, all)
		stream := undo.Stream()
		got := ""
		for rest := all; rest != ""; {
			n := 1 + r.IntN(min(5, len(rest)))
			got, rest = got+stream.Write(rest[:n]), rest[n:]
		}
		require.Equal(t, was, got+stream.Flush())
		require.Equal(t, was, undo.Text(all))
	}
	t.Logf("%d redacted, %d refused", redacted, refused)
	require.Less(t, refused, 30)
}

func TestRedactKeepsThePlaceholderItself(t *testing.T) {
	in := user("my mail is a.b@example.org, not [MAIL_1] but a.b@example.org")
	out, undo, err := privacy.Default().Redact(in)
	require.NoError(t, err)
	require.Equal(t, "my mail is [MAIL_2], not [MAIL_1] but [MAIL_2]", out[0].Text)
	require.Equal(t, "a.b@example.org [MAIL_1] [MAIL_", undo.Text("[MAIL_2] [MAIL_1] [MAIL_"))
	out, undo, err = privacy.Default().Redact(user("nothing here"))
	require.NoError(t, err)
	require.Nil(t, undo)
	require.Equal(t, "nothing here", out[0].Text)
	require.Equal(t, "x[", undo.Text("x["))
}

func TestOwnWordsAndPatterns(t *testing.T) {
	s, err := privacy.New(privacy.Options{Kinds: []string{}, Words: []string{"Project Lighthouse", "Müller", "灯台計画"}, Patterns: []string{`K-\d{5}`}})
	require.NoError(t, err)
	for text, want := range map[string][]string{
		"about project\u00a0 LIGHTHOUSE":  {privacy.Word},
		"proj\u200bect lighthouse":        {privacy.Word},
		"Herr MÜLLER sagt":                {privacy.Word},
		"Müllerei":                        nil,
		"これは灯台計画です":                       {privacy.Word},
		"customer K-12345":                {privacy.Pattern},
		"customer K\u2011\uff11\uff12345": {privacy.Pattern},
		"4111 1111 1111 1111":             nil,
	} {
		require.Equal(t, want, kinds(t, s, text), text)
	}
	found, err := s.Scan([]privacy.Part{{Role: "user", Text: "about project"}, {Role: "assistant", Text: "which?"}, {Role: "user", Text: "lighthouse"}})
	require.NoError(t, err)
	require.Equal(t, []string{privacy.Word}, privacy.KindsOf(found))
	for _, o := range []privacy.Options{{Kinds: []string{"name"}}, {Patterns: []string{"("}}, {Patterns: []string{"a*"}}, {Words: []string{strings.Repeat("x", 2000)}}} {
		_, err := privacy.New(o)
		require.Equal(t, fault.ExitUsage, fault.Code(err), o)
	}
	s, err = privacy.New(privacy.Options{Kinds: []string{privacy.IP}})
	require.NoError(t, err)
	require.Equal(t, []string{privacy.IP}, kinds(t, s, "ping 192.168.1.20"))
	require.Equal(t, []string{privacy.IP}, kinds(t, s, "ping fe80::1ff:fe23:4567:890a"))
	require.Empty(t, kinds(t, s, "at 10:30:15"))
}

// TestAllowed: what the user says is public is, and nothing that only holds it.
func TestAllowed(t *testing.T) {
	s, err := privacy.New(privacy.Options{Allow: []string{"support@example.org", "+49 30 901820", ""}})
	require.NoError(t, err)
	for text, want := range map[string][]string{
		"write to Support@Example.org":                     nil,
		"write to s\u200bupport@example.org":               nil,
		"call +49-30-901820":                               nil,
		"write to my.support@example.org":                  {privacy.Mail},
		"write to support@example.org or jane@example.org": {privacy.Mail},
		"call +49 30 9018201":                              {privacy.Phone},
	} {
		require.Equal(t, want, kinds(t, s, text), text)
	}
	out, _, err := s.Redact(user("support@example.org, jane@example.org"))
	require.True(t, err != nil || out[0].Text == "support@example.org, [MAIL_1]", "%q %v", out, err)
}

func TestTooMuchIsRefused(t *testing.T) {
	_, err := privacy.Default().Scan(user(strings.Repeat("a ", privacy.MaxText/2+1)))
	require.ErrorIs(t, err, privacy.ErrScan)
}

// TestOrdinaryQuestions: of 5,000 questions of the data folder, spread over its
// sets, at most 1 % are taken for private.
func TestOrdinaryQuestions(t *testing.T) {
	dir := os.Getenv("CRAYON_DATA")
	if dir == "" {
		t.Skip("CRAYON_DATA is not set")
	}
	questions := ordinary(t, filepath.Join(dir, "qa"), 5000)
	flagged := map[string]int{}
	n := 0
	for _, q := range questions {
		found, err := privacy.Default().Scan(user(q))
		require.NoError(t, err)
		if len(found) == 0 {
			continue
		}
		n++
		for _, k := range privacy.KindsOf(found) {
			flagged[k]++
		}
		x := found[0].Spans[0]
		t.Logf("%s: %q in %.120q", found[0].Kind, q[x.Start:x.End], q)
	}
	t.Logf("%d of %d ordinary questions flagged (%.2f %%): %v", n, len(questions), 100*float64(n)/float64(len(questions)), flagged)
	require.Len(t, questions, 5000)
	require.LessOrEqual(t, n, 50)
}

// ordinary reads n questions with their choices, as many of each set.
func ordinary(t *testing.T, dir string, n int) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.jsonl.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	slices.Sort(files)
	var scanners []*bufio.Scanner
	for _, path := range files {
		f, err := os.Open(path)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		z, err := gzip.NewReader(f)
		require.NoError(t, err)
		s := bufio.NewScanner(z)
		s.Buffer(nil, 1<<20)
		scanners = append(scanners, s)
	}
	var out []string
	for len(out) < n {
		before := len(out)
		for _, s := range scanners {
			if len(out) == n || !s.Scan() {
				continue
			}
			var row struct {
				Question string
				Context  *string
				Choices  []string
			}
			require.NoError(t, json.Unmarshal(s.Bytes(), &row))
			text := row.Question
			if row.Context != nil {
				text = *row.Context + "\n" + text
			}
			out = append(out, text+"\nOptions:\n- "+strings.Join(row.Choices, "\n- "))
		}
		require.Greater(t, len(out), before, "too few questions")
	}
	return out
}

// TestAnyText: whatever the text, scanning ends well, spans lie within it, and
// redacting and undoing gives it back.
func TestAnyText(t *testing.T) {
	pieces := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9 ()+.-]{0,30}`), rapid.SampledFrom([]string{
		"4111 1111 1111 1111", "a@b.org", "DE89 3704", "0044 0532 0130 00", "\u200b", "\xff\xfe", "[MAIL_1]", "６", "s k - 1 2 3"})), 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		var in []privacy.Part
		for range rapid.IntRange(1, 4).Draw(t, "turns") {
			in = append(in, privacy.Part{Role: rapid.SampledFrom([]string{"user", "assistant", ""}).Draw(t, "role"), Text: strings.Join(pieces.Draw(t, "text"), " ")})
		}
		found, err := privacy.Default().Scan(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			for _, s := range m.Spans {
				if s.Start < 0 || s.End <= s.Start || s.End > len(in[s.Part].Text) {
					t.Fatalf("%+v of %q", m, in)
				}
			}
		}
		out, undo, err := privacy.Default().Redact(in)
		if err != nil {
			return
		}
		for i := range in {
			if got := undo.Text(out[i].Text); got != in[i].Text {
				t.Fatalf("%q became %q", in[i].Text, got)
			}
		}
	})
}

// BenchmarkConversations scans few-shot prompts and chats of 5 to 17 turns.
func BenchmarkConversations(b *testing.B) {
	talks := fake.OrdinaryCorpus(5, 80)
	s := privacy.Default()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Scan(parts(talks[i%len(talks)])); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, c := range fake.PrivateCorpus(3, 60) {
		f.Add(c.Turns[0].Content, c.Turns[len(c.Turns)-1].Content)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		in := []privacy.Part{{Role: "user", Text: a}, {Role: "user", Text: b}}
		out, undo, err := privacy.Default().Redact(in)
		if err != nil {
			return
		}
		if undo.Text(out[0].Text) != a || undo.Text(out[1].Text) != b {
			t.Fatalf("%q became %q", in, out)
		}
	})
}
