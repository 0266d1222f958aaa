package model

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/arch"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/testmodel/tiny"
)

func TestLogProbsAreThoseOfPlainSequences(t *testing.T) {
	for name, c := range families {
		t.Run(name, func(t *testing.T) {
			m := open(t, c, gguf.F32)
			v := m.Config.Vocab
			s := stack(t, m.Config)
			side, err := m.NewSide(s)
			require.NoError(t, err)
			var asks []Ask
			for i, n := range []int{1, 30, 520, 64, 7} {
				a := Ask{Prefix: tokens(uint64(i), n, v)}
				if i%2 == 1 {
					a.Row = s.RowWeights([]float32{1, float32(i) / 5, 0.5})
				}
				for j, n := range []int{1, 0, 2, 9, 40}[:i+1] {
					a.Answers = append(a.Answers, tokens(uint64(100+10*i+j), n, v))
				}
				asks = append(asks, a)
			}
			asks = append(asks, Ask{Prefix: asks[0].Prefix})
			got, err := m.LogProbs(t.Context(), side, asks)
			require.NoError(t, err)
			require.Len(t, got, len(asks))
			for i, a := range asks {
				require.Len(t, got[i], len(a.Answers))
				for j, ans := range a.Answers {
					require.Len(t, got[i][j], len(ans))
					if len(ans) == 0 {
						continue
					}
					logits := sequence(t, m, side, a.Row, slices.Concat(a.Prefix, ans))
					for k, id := range ans {
						l := logits[len(a.Prefix)-1+k]
						require.InDelta(t, l[id]-kernel.LogSumExp(l), got[i][j][k], 1e-3, "ask %d, answer %d, token %d", i, j, k)
					}
				}
			}
		})
	}
}

func TestLogProbsRefuses(t *testing.T) {
	m := open(t, tiny.Config, gguf.Q8_0)
	v := int32(m.Config.Vocab)
	for name, a := range map[string]Ask{
		"no prefix":             {Answers: [][]int32{{1}}},
		"first token unknown":   {Prefix: []int32{1}, Answers: [][]int32{{v, 1}}},
		"last token unknown":    {Prefix: []int32{1}, Answers: [][]int32{{1, -1}}},
		"prefix unknown":        {Prefix: []int32{v}, Answers: [][]int32{{1}}},
		"longer than a context": {Prefix: make([]int32, m.Config.Context), Answers: [][]int32{{1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.LogProbs(t.Context(), nil, []Ask{{Prefix: []int32{1}, Answers: [][]int32{{2, 3}}}, a})
			require.Error(t, err)
		})
	}
}

func TestMean(t *testing.T) {
	require.Zero(t, Mean(nil))
	require.InDelta(t, -2, Mean([]float32{-1, -3}), 1e-12)
}

func TestFeatures(t *testing.T) {
	for name, c := range families {
		t.Run(name, func(t *testing.T) {
			m := open(t, c, gguf.F32)
			w := load(t, m)
			c := m.Config
			for _, n := range []int{1, 9, chunk + 8} {
				ids := tokens(uint64(n), n, c.Vocab)
				got, err := m.Feature(t.Context(), 0, ids)
				require.NoError(t, err)
				width := c.Heads * c.HeadDim
				q := make([]float32, n*width)
				require.NoError(t, w.FirstQuery(nil, ids, q))
				want := columnMeans(q, n)
				if b := w.Layers[0].Bias[arch.Q]; b != nil {
					kernel.Add(want, b)
				}
				require.Less(t, worst(t, [][]float32{got}, [][]float32{want}), 1e-4)
				for _, layer := range []int{1, c.Layers} {
					got, err := m.Feature(t.Context(), layer, ids)
					require.NoError(t, err)
					h := make([]float32, n*c.Dim)
					require.NoError(t, w.Hidden(nil, ids, nil, layer, h))
					require.Less(t, worst(t, [][]float32{got}, [][]float32{columnMeans(h, n)}), halves, "layer %d", layer)
				}
			}
			for _, bad := range []struct {
				layer int
				ids   []int32
			}{{0, nil}, {-1, []int32{1}}, {c.Layers + 1, []int32{1}}, {0, []int32{int32(c.Vocab)}}, {1, []int32{-1}}} {
				_, err := m.Feature(t.Context(), bad.layer, bad.ids)
				require.Error(t, err)
			}
		})
	}
}

// Features of many texts are those of each.
func TestFeaturesTogether(t *testing.T) {
	m := open(t, tiny.Config, gguf.F32)
	var texts [][]int32
	for i, n := range []int{5, 300, 300, 1, chunk + 1, 40, 40} {
		texts = append(texts, tokens(uint64(i), n, m.Config.Vocab))
	}
	for layer := range m.Config.Layers + 1 {
		got, err := m.Features(t.Context(), layer, texts)
		require.NoError(t, err)
		require.Len(t, got, len(texts))
		for i, ids := range texts {
			alone, err := m.Feature(t.Context(), layer, ids)
			require.NoError(t, err)
			require.InDeltaSlice(t, alone, got[i], 1e-5, "layer %d, text %d", layer, i)
		}
		_, err = m.Features(t.Context(), layer, append(texts, nil))
		require.ErrorContains(t, err, "text 8")
		none, err := m.Features(t.Context(), layer, nil)
		require.NoError(t, err)
		require.Empty(t, none)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for layer := range 2 {
		_, err := m.Features(gone, layer, texts)
		require.ErrorIs(t, err, context.Canceled)
	}
}

func columnMeans(x []float32, rows int) []float32 {
	mean := make([]float32, len(x)/rows)
	for i := range rows {
		kernel.Axpy(1/float32(rows), x[i*len(mean):(i+1)*len(mean)], mean)
	}
	return mean
}
