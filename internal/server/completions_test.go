package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openai/openai-go/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/route"
)

const rawPath = "/v1/completions"

// complete asks and decodes.
func (w *world) complete(body string) completionObject {
	w.t.Helper()
	r := w.post(rawPath, body)
	require.Equal(w.t, http.StatusOK, r.status, r.body)
	require.Equal(w.t, "device", r.header.Get(route.HeaderRoute))
	var c completionObject
	require.NoError(w.t, json.Unmarshal([]byte(r.body), &c))
	return c
}

func marshal(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // a test's own value
	}
	return string(data)
}

// TestEchoIsTheModelsOwn: the log-probabilities of an echoed prompt are those
// of the model's scoring, under the base model and a customisation.
func TestEchoIsTheModelsOwn(t *testing.T) {
	w := newWorld(t, nil)
	d := w.hybrid.Device
	for _, id := range []string{base, base + "+mine"} {
		custom, err := w.server.shelf.find(t.Context(), id)
		require.NoError(t, err)
		var row []float32
		if custom != nil {
			row, err = custom.Bind(t.Context(), d)
			require.NoError(t, err)
		}
		for _, text := range []string{"the hat is on the hen", "x", "größe 🙂 <|im_end|>\n"} {
			ids := d.Tokenizer.Encode(text)
			require.NotContains(t, ids, d.Tokenizer.EOS(), "a special token was read in raw text")
			side, err := d.Side(t.Context())
			require.NoError(t, err)
			own, err := d.Model.LogProbs(t.Context(), side, []model.Ask{{Prefix: ids[:1], Answers: [][]int32{ids[1:]}, Row: row}})
			require.NoError(t, err)
			// As lm-evaluation-harness asks: one token is made and left out.
			for _, p := range []any{text, []string{text}, ids, [][]int32{ids}} {
				c := w.complete(fmt.Sprintf(`{"model":%q,"prompt":%s,"max_tokens":1,"logprobs":1,"echo":true,"temperature":0,"seed":1234}`, id, marshal(p)))
				lp := c.Choices[0].LogProbs
				require.Len(t, lp.Values, len(ids)+1)
				require.Len(t, lp.Top, len(ids)+1)
				require.Len(t, lp.Tokens, len(ids)+1)
				require.Len(t, lp.Offset, len(ids)+1)
				require.Nil(t, lp.Values[0])
				require.Nil(t, lp.Top[0])
				for i, v := range lp.Values[1:len(ids)] {
					require.InDelta(t, own[0][0][i], *v, 2e-3)
					best := *v
					for _, x := range lp.Top[i+1] {
						best = max(best, x)
					}
					_, there := lp.Top[i+1][lp.Tokens[i+1]]
					require.True(t, there)
					require.GreaterOrEqual(t, best, *v)
				}
				require.True(t, strings.HasPrefix(c.Choices[0].Text, text))
				require.Equal(t, len(ids), c.Usage.Prompt)
				require.Equal(t, 1, c.Usage.Completion)
			}
			c := w.complete(fmt.Sprintf(`{"model":%q,"prompt":%s,"max_tokens":0,"logprobs":0,"echo":true}`, id, marshal(text)))
			require.Equal(t, text, c.Choices[0].Text)
			require.Len(t, c.Choices[0].LogProbs.Values, len(ids))
			require.Equal(t, "length", *c.Choices[0].Finish)
			require.Zero(t, c.Usage.Completion)
		}
	}
}

// TestGreedyIsSeenAsGreedy: what the model itself would say next has the
// likeliest token at every place, to the last bit: how harnesses tell.
func TestGreedyIsSeenAsGreedy(t *testing.T) {
	w := newWorld(t, nil)
	d := w.hybrid.Device
	made := w.complete(`{"model":"tiny","prompt":"the hat","max_tokens":12,"logprobs":2}`)
	lp := made.Choices[0].LogProbs
	require.Len(t, lp.Tokens, made.Usage.Completion)
	require.Equal(t, 0, lp.Offset[0])
	for i, v := range lp.Values {
		require.Equal(t, *v, lp.Top[i][lp.Tokens[i]])
		for _, x := range lp.Top[i] {
			require.LessOrEqual(t, x, *v)
		}
	}
	// The same tokens as a prompt.
	cache, ids := d.Model.NewCache(0), d.Tokenizer.Encode("the hat")
	first := len(ids)
	next := ids
	for range 12 {
		err := d.Model.Forward(t.Context(), nil, []model.Input{{Cache: cache, Tokens: next, Want: model.WantLast}}, func(_, _ int, logits []float32) error {
			next = []int32{int32(kernel.MaxIndex(logits))}
			return nil
		})
		require.NoError(t, err)
		ids = append(ids, next...)
	}
	c := w.complete(fmt.Sprintf(`{"model":"tiny","prompt":%s,"max_tokens":1,"logprobs":1,"echo":true}`, marshal(ids)))
	for i := first; i < len(ids); i++ {
		best := float32(-1e9)
		for _, x := range c.Choices[0].LogProbs.Top[i] {
			best = max(best, x)
		}
		require.Equal(t, best, *c.Choices[0].LogProbs.Values[i])
	}
}

// TestOffsets: a token's offset is where its text is, in code points.
func TestOffsets(t *testing.T) {
	w := newWorld(t, nil)
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringMatching(`[a-z é🙂]{1,12}`).Draw(r, "text")
		c := w.complete(fmt.Sprintf(`{"model":"tiny","prompt":%s,"max_tokens":0,"logprobs":0,"echo":true}`, marshal(text)))
		lp, runes := c.Choices[0].LogProbs, []rune(text)
		last := 0
		for i, name := range lp.Tokens {
			if lp.Offset[i] < last || lp.Offset[i] > len(runes) {
				r.Fatalf("offsets %v of %q", lp.Offset, text)
			}
			last = lp.Offset[i]
			if !strings.HasPrefix(name, "bytes:") && !strings.HasPrefix(string(runes[last:]), name) {
				r.Fatalf("token %q at %d of %q", name, last, text)
			}
		}
	})
}

func TestCompletionForms(t *testing.T) {
	w := newWorld(t, nil)
	many := w.complete(`{"model":"tiny","prompt":["the hat","on the","x"],"max_tokens":5}`)
	require.Len(t, many.Choices, 3)
	for i, p := range []string{"the hat", "on the", "x"} {
		require.Equal(t, i, many.Choices[i].Index)
		one := w.complete(fmt.Sprintf(`{"model":"tiny","prompt":%q,"max_tokens":5}`, p))
		require.Equal(t, one.Choices[0].Text, many.Choices[i].Text)
		require.Nil(t, one.Choices[0].LogProbs)
		echoed := w.complete(fmt.Sprintf(`{"model":"tiny","prompt":%q,"max_tokens":5,"echo":true}`, p))
		require.Equal(t, p+one.Choices[0].Text, echoed.Choices[0].Text)
		both := w.complete(fmt.Sprintf(`{"model":"tiny","prompt":%q,"max_tokens":5,"echo":true,"logprobs":3}`, p))
		require.Equal(t, echoed.Choices[0].Text, both.Choices[0].Text, "with log-probabilities it says something else")
		require.Equal(t, echoed.Usage, both.Usage)
	}
	require.LessOrEqual(t, w.complete(`{"model":"tiny","prompt":"x","temperature":1}`).Usage.Completion, defaultCompletion)
	nothing := w.complete(`{"model":"tiny","prompt":"x","max_tokens":0,"logprobs":1}`)
	require.Empty(t, nothing.Choices[0].Text)
	require.NotNil(t, nothing.Choices[0].LogProbs)
	require.NotEqual(t, w.complete(`{"model":"tiny","prompt":"the hat","max_tokens":9}`).Choices[0].Text,
		w.complete(`{"model":"tiny+mine","prompt":"the hat","max_tokens":9}`).Choices[0].Text, "the customisation does nothing here")
	before := w.hybrid.Device.Model.Computed()
	w.complete(`{"model":"tiny","prompt":"the hat","max_tokens":3,"echo":true,"logprobs":1}`)
	require.Equal(t, int64(len(w.hybrid.Device.Tokenizer.Encode("the hat"))+2), w.hybrid.Device.Model.Computed()-before, "the prompt was computed twice")
}

func TestCompletionWithTheOfficialClient(t *testing.T) {
	w := newWorld(t, nil)
	p := openai.CompletionNewParams{Model: "tiny+mine", MaxTokens: openai.Int(12), Logprobs: openai.Int(2), Echo: openai.Bool(true),
		Prompt:        openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{"the hat", "x"}},
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}}
	whole, err := w.client.Completions.New(t.Context(), p)
	require.NoError(t, err)
	st := w.client.Completions.NewStreaming(t.Context(), p)
	defer st.Close()
	texts, tokens, finish, total := make([]string, 2), make([]int, 2), make([]string, 2), int64(0)
	for st.Next() {
		if st.Current().Usage.TotalTokens > 0 {
			total = st.Current().Usage.TotalTokens
		}
		for _, c := range st.Current().Choices {
			texts[c.Index] += c.Text
			tokens[c.Index] += len(c.Logprobs.Tokens)
			finish[c.Index] += string(c.FinishReason)
		}
	}
	require.NoError(t, st.Err())
	require.Equal(t, whole.Usage.TotalTokens, total)
	for i, c := range whole.Choices {
		require.True(t, utf8.ValidString(c.Text))
		require.Equal(t, c.Text, texts[i])
		require.Len(t, c.Logprobs.Tokens, tokens[i])
		require.Equal(t, string(c.FinishReason), finish[i])
	}
}

func TestBadCompletions(t *testing.T) {
	w := newWorld(t, nil)
	vocab := w.hybrid.Device.Model.Config.Vocab
	for _, c := range []struct{ name, body, param, says string }{
		{"no prompt", `{"model":"tiny"}`, "prompt", "missing"},
		{"null", `{"model":"tiny","prompt":null}`, "prompt", "missing"},
		{"empty", `{"model":"tiny","prompt":""}`, "prompt", "empty"},
		{"none", `{"model":"tiny","prompt":[]}`, "prompt", "empty"},
		{"one empty", `{"model":"tiny","prompt":["a",""]}`, "prompt", "prompt 1"},
		{"object", `{"model":"tiny","prompt":{}}`, "prompt", "none of"},
		{"mixed", `{"model":"tiny","prompt":["a",3]}`, "prompt", "none of"},
		{"id", fmt.Sprintf(`{"model":"tiny","prompt":[1,%d]}`, vocab), "prompt", "vocabulary"},
		{"negative id", `{"model":"tiny","prompt":[-1]}`, "prompt", "vocabulary"},
		{"huge id", `{"model":"tiny","prompt":[99999999999]}`, "prompt", "none of"},
		{"too many", `{"model":"tiny","prompt":[` + strings.Repeat(`"a",`, maxPrompts) + `"a"]}`, "prompt", "at most"},
		{"too long", `{"model":"tiny","prompt":"` + strings.Repeat("long ", 3000) + `"}`, "", "context"},
		{"logprobs", `{"model":"tiny","prompt":"x","logprobs":50}`, "logprobs", "between"},
		{"best of", `{"model":"tiny","prompt":"x","best_of":3}`, "best_of", "only 1"},
		{"suffix", `{"model":"tiny","prompt":"x","suffix":"y"}`, "suffix", "suffix"},
		{"max", `{"model":"tiny","prompt":"x","max_tokens":-1}`, "max_tokens", "-1"},
		{"n", `{"model":"tiny","prompt":"x","n":3}`, "n", "only 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.post(rawPath, c.body)
			require.Equal(t, http.StatusBadRequest, r.status, r.body)
			message, _, param, _ := r.error(t)
			require.Contains(t, message, c.says)
			require.Equal(t, c.param, param)
		})
	}
	r := w.post(rawPath, `{"model":"tiny","prompt":"x"}`, route.HeaderRoute, "server")
	require.Equal(t, http.StatusBadRequest, r.status)
	_, _, _, code := r.error(t)
	require.Equal(t, "device_only", code)
	require.Empty(t, w.fake.Calls())
	r = w.post(rawPath, `{"model":"tine","prompt":"x"}`)
	require.Equal(t, http.StatusNotFound, r.status)
}
