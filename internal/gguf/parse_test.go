package gguf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
)

// small is a whole file of two tensors and a few keys.
func small(t testing.TB) []byte {
	b := NewBuilder()
	b.Set("general.architecture", "llama")
	b.Set("tokenizer.ggml.tokens", []string{"a", "b"})
	b.Set("n", uint32(7))
	b.Add("norm", []int{3}, F32, make([]byte, 12))
	q, err := Quantize(Q8_0, make([]float32, 64))
	require.NoError(t, err)
	b.Add("w", []int{32, 2}, Q8_0, q)
	var out bytes.Buffer
	n, err := b.WriteTo(&out)
	require.NoError(t, err)
	require.Equal(t, int64(out.Len()), n)
	return out.Bytes()
}

// raw builds a header by hand.
type raw []byte

func (r raw) u32(v uint32) raw  { return binary.LittleEndian.AppendUint32(r, v) }
func (r raw) u64(v uint64) raw  { return binary.LittleEndian.AppendUint64(r, v) }
func (r raw) str(s string) raw  { return append(r.u64(uint64(len(s))), s...) }
func (r raw) pad(align int) raw { return append(r, make([]byte, padded(len(r), align)-len(r))...) }
func head(tensors, keys uint64) raw {
	return raw(magic).u32(3).u64(tensors).u64(keys)
}
func (r raw) tensor(name string, kind Type, offset uint64, dims ...uint64) raw {
	r = r.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		r = r.u64(d)
	}
	return r.u32(uint32(kind)).u64(offset)
}
func (r raw) body(n int) raw { return append(r.pad(32), make([]byte, n)...) }

func TestBadFiles(t *testing.T) {
	room := make([]byte, 1000)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":          {nil, "not a GGUF file"},
		"wrong magic":    {[]byte("GGML rest of it, long enough for a header"), "not a GGUF file"},
		"version 1":      {append(raw(magic).u32(1), room...), "version 1 is not read"},
		"big-endian":     {append(raw(magic).u32(3<<24), room...), "big-endian"},
		"no counts":      {raw(magic).u32(3), "ends inside its header"},
		"many tensors":   {append(head(1<<60, 0), room...), "1152921504606846976 tensors cannot fit"},
		"many keys":      {append(head(0, 500), room...), "500 keys cannot fit"},
		"long key":       {append(head(0, 1).u64(1<<63), room...), "cannot fit"},
		"nameless key":   {append(head(0, 1).str("").u32(kindUint8), room...), "key 0 has no name"},
		"key twice":      {append(append(append(head(0, 2).str("k").u32(kindUint8), 1).str("k").u32(kindUint8), 1), room...), `key "k" stands twice`},
		"unknown value":  {append(head(0, 1).str("k").u32(77), room...), `key 0 "k": value type 77 is unknown`},
		"unknown array":  {append(head(0, 1).str("k").u32(kindArray).u32(77).u64(1), room...), "array type 77"},
		"nested array":   {append(head(0, 1).str("k").u32(kindArray).u32(kindArray).u64(1), room...), "array of arrays"},
		"long array":     {append(head(0, 1).str("k").u32(kindArray).u32(kindFloat64).u64(126), room...), "array of 126 values"},
		"longer array":   {append(head(0, 1).str("k").u32(kindArray).u32(kindFloat64).u64(1<<61), room...), "array elements cannot fit"},
		"many strings":   {append(head(0, 1).str("k").u32(kindArray).u32(kindString).u64(126), room...), "array of 126 strings"},
		"truth of 2":     {append(append(head(0, 1).str("k").u32(kindBool), 2), room...), "truth value is 2"},
		"alignment 48":   {append(head(0, 1).str(alignmentKey).u32(kindUint32).u32(48), room...), "general.alignment is 48"},
		"alignment 0":    {append(head(0, 1).str(alignmentKey).u32(kindUint32).u32(0), room...), "general.alignment is 0"},
		"alignment huge": {append(head(0, 1).str(alignmentKey).u32(kindUint32).u32(1<<31), room...), "general.alignment"},
		"alignment text": {append(head(0, 1).str(alignmentKey).u32(kindString).str("32"), room...), "general.alignment is 32"},
		"no tensor name": {head(1, 0).tensor("", F32, 0, 4).body(16), "it has no name"},
		"no dimension":   {append(head(1, 0).tensor("t", F32, 0), room...), `tensor 0 "t": it has 0 dimensions`},
		"5 dimensions":   {append(head(1, 0).tensor("t", F32, 0, 1, 1, 1, 1, 1), room...), "5 dimensions"},
		"dimension 0":    {head(1, 0).tensor("t", F32, 0, 4, 0).body(16), "dimension 1 is 0"},
		"product wraps":  {head(1, 0).tensor("t", F32, 0, 1<<32, 1<<32).body(16), "too small for that"},
		"type refused":   {head(1, 0).tensor("t", 30, 0, 4).body(16), "its type BF16 is not read"},
		"type unknown":   {head(1, 0).tensor("t", 1000, 0, 4).body(16), "its type type 1000 is not read"},
		"part block":     {head(1, 0).tensor("t", Q8_0, 0, 33).body(100), "not whole Q8_0 blocks of 32"},
		"odd offset":     {head(1, 0).tensor("t", F32, 4, 4).body(64), "not a multiple of the alignment 32"},
		"far offset":     {head(1, 0).tensor("t", F32, 1<<62, 4).body(64), "past the end"},
		"cut short":      {head(1, 0).tensor("t", F32, 0, 16).body(63), "cut short"},
		"no data":        {head(1, 0).tensor("t", F32, 0, 1), "the file ends before its tensor data"},
		"tensor twice":   {head(2, 0).tensor("t", F32, 0, 4).tensor("t", F32, 32, 4).body(64), `tensor "t" stands twice`},
		"overlap":        {head(2, 0).tensor("t", F32, 0, 16).tensor("u", F32, 32, 4).body(64), `tensors "t" and "u" overlap`},
		"same place":     {head(2, 0).tensor("t", F32, 32, 4).tensor("u", F32, 32, 4).body(64), "overlap"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.data)
			require.ErrorContains(t, err, c.want)
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			require.NotEmpty(t, f.Hint)

			path := filepath.Join(t.TempDir(), "f.gguf")
			require.NoError(t, os.WriteFile(path, c.data, 0o600))
			_, err = Open(path)
			require.ErrorContains(t, err, path)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
}

// Cut anywhere, a file is refused: nothing of it is optional. Only the padding
// after the last tensor can go.
func TestEveryTruncationIsRefused(t *testing.T) {
	data := small(t)
	f, err := Parse(data)
	require.NoError(t, err)
	last := f.Tensor("w").Data
	end := len(data) - (padded(len(last), 32) - len(last))
	for n := range end {
		_, err := Parse(data[:n])
		require.Error(t, err, n)
	}
	_, err = Parse(data[:end])
	require.NoError(t, err)
}

func TestRoundTrip(t *testing.T) {
	values := rapid.OneOf(
		rapid.Uint8().AsAny(), rapid.Int8().AsAny(), rapid.Uint16().AsAny(), rapid.Int16().AsAny(), rapid.Uint32().AsAny(),
		rapid.Int32().AsAny(), rapid.Uint64().AsAny(), rapid.Int64().AsAny(), rapid.Float32().AsAny(), rapid.Float64().AsAny(),
		rapid.Bool().AsAny(), rapid.String().AsAny(),
		rapid.SliceOf(rapid.String()).AsAny(), rapid.SliceOf(rapid.Int32()).AsAny(), rapid.SliceOf(rapid.Float32()).AsAny(),
		rapid.SliceOf(rapid.Uint64()).AsAny(), rapid.SliceOf(rapid.Bool()).AsAny(), rapid.SliceOf(rapid.Int8()).AsAny(),
	)
	rapid.Check(t, func(t *rapid.T) {
		b := NewBuilder()
		align := 1 << rapid.IntRange(0, 10).Draw(t, "alignment")
		b.Set(alignmentKey, uint32(align))
		keys := rapid.MapOfN(rapid.StringN(1, 20, -1), values, 0, 6).Draw(t, "keys")
		delete(keys, alignmentKey)
		for k, v := range keys {
			b.Set(k, "replaced below")
			b.Set(k, v)
		}
		kinds := rapid.SliceOfN(rapid.SampledFrom([]Type{F32, F16, Q4_0, Q4_1, Q5_0, Q8_0, Q4_K, Q6_K}), 0, 5).Draw(t, "types")
		var want [][]byte
		for i, kind := range kinds {
			n, size := kind.Block()
			blocks, rows := rapid.IntRange(1, 3).Draw(t, "blocks"), rapid.IntRange(1, 3).Draw(t, "rows")
			data := rapid.SliceOfN(rapid.Byte(), blocks*rows*size, blocks*rows*size).Draw(t, "data")
			b.Add(strings.Repeat("t", i+1), []int{n * blocks, rows}, kind, data)
			want = append(want, data)
		}
		var out bytes.Buffer
		_, err := b.WriteTo(&out)
		require.NoError(t, err)
		f, err := Parse(out.Bytes())
		require.NoError(t, err)
		require.Len(t, f.Keys(), len(keys)+1)
		for k, v := range keys {
			got, ok := f.Value(k)
			require.True(t, ok)
			require.True(t, same(v, got), "%q: wrote %v, read %v", k, v, got)
		}
		require.Len(t, f.Tensors(), len(kinds))
		for i, tensor := range f.Tensors() {
			require.Equal(t, kinds[i], tensor.Type)
			require.Equal(t, want[i], tensor.Data)
			require.Same(t, tensor, f.Tensor(tensor.Name))
		}
	})
}

// same compares two values by their bytes, so that NaN equals itself and a nil
// slice an empty one.
func same(a, b any) bool {
	ka, x := encode(nil, a)
	kb, y := encode(nil, b)
	return ka == kb && bytes.Equal(x, y)
}

func TestBuilderRefuses(t *testing.T) {
	b := NewBuilder()
	b.Set("struct", struct{}{})
	b.Set("", 1)
	b.Set(alignmentKey, uint32(3))
	b.Add("", []int{1}, F32, make([]byte, 4))
	b.Add("short", []int{2}, F32, make([]byte, 4))
	b.Add("kind", []int{2}, 30, make([]byte, 4))
	b.Add("flat", nil, F32, nil)
	b.Add("none", []int{1, 0}, F32, nil)
	b.Add("wraps", []int{math.MaxInt, math.MaxInt}, F32, nil)
	b.Add("part", []int{31}, Q8_0, make([]byte, 34))
	b.Add("fine", []int{1}, F32, make([]byte, 4))
	b.Add("fine", []int{1}, F32, make([]byte, 4))
	path := filepath.Join(t.TempDir(), "f.gguf")
	err := b.WriteFile(path)
	for _, want := range []string{path, `"struct"`, `key ""`, alignmentKey, "no name", `"short"`, "BF16", `"flat"`, `"none"`, `"wraps"`, `"part"`, `"fine": it was added twice`} {
		require.ErrorContains(t, err, want)
	}
	require.NoFileExists(t, path)
}

// fullDisk takes some bytes and then no more.
type fullDisk struct{ left int }

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.left)
	d.left -= n
	if n < len(p) {
		return n, errors.New("no space left")
	}
	return n, nil
}

func TestWriteToFullDisk(t *testing.T) {
	data := small(t)
	b := NewBuilder()
	b.Add("w", []int{100}, F32, make([]byte, 400))
	for _, left := range []int{0, 10, 200, 400} {
		n, err := b.WriteTo(&fullDisk{left})
		require.ErrorContains(t, err, "no space left")
		require.Equal(t, int64(left), n)
	}
	_, err := b.WriteTo(io.Discard)
	require.NoError(t, err)
	require.NotEmpty(t, data)
}

func TestFingerprint(t *testing.T) {
	write := func(tokens []string, norm []float32, kind Type, weight float32) *File {
		b := NewBuilder()
		b.Set(vocabularyKey, tokens)
		n, err := Quantize(F32, norm)
		require.NoError(t, err)
		values := make([]float32, 64)
		for i := range values {
			values[i] = weight * float32(i)
		}
		w, err := Quantize(kind, values)
		require.NoError(t, err)
		b.Add("w", []int{32, 2}, kind, w)
		b.Add("norm", []int{len(norm)}, F32, n)
		var out bytes.Buffer
		_, err = b.WriteTo(&out)
		require.NoError(t, err)
		f, err := Parse(out.Bytes())
		require.NoError(t, err)
		return f
	}
	print := func(f *File) string {
		s, err := Fingerprint(f)
		require.NoError(t, err)
		require.Len(t, s, 64)
		return s
	}
	base := print(write([]string{"ab", "c"}, []float32{1, 2}, Q8_0, 1))
	require.Equal(t, base, print(write([]string{"ab", "c"}, []float32{1, 2}, Q4_0, 1)), "another quantisation of one model")
	require.NotEqual(t, base, print(write([]string{"a", "bc"}, []float32{1, 2}, Q8_0, 1)), "another vocabulary")
	require.NotEqual(t, base, print(write([]string{"ab", "c"}, []float32{1, 2.0000002}, Q8_0, 1)), "another norm")
	_, err := Fingerprint(write(nil, []float32{1}, F16, 1))
	require.ErrorContains(t, err, vocabularyKey)
}

func TestValidateNamesWhatIsNotFinite(t *testing.T) {
	b := NewBuilder()
	fine := make([]byte, 144*2)
	for kind, at := range map[Type]int{F32: 40, F16: 20, Q4_0: 18, Q4_1: 22, Q5_0: 22, Q8_0: 34, Q4_K: 146, Q6_K: 210 + 208} {
		n, size := kind.Block()
		data := make([]byte, 2*size*(512/n)/2)
		binary.LittleEndian.PutUint16(data[at:], 0x7e00) // NaN in F16
		if kind == F32 {
			binary.LittleEndian.PutUint32(data[at:], math.Float32bits(float32(math.Inf(1))))
		}
		b.Add("bad."+kind.String(), []int{512}, kind, data)
	}
	b.Add("fine", []int{512}, Q4_K, fine)
	var out bytes.Buffer
	_, err := b.WriteTo(&out)
	require.NoError(t, err)
	f, err := Parse(out.Bytes())
	require.NoError(t, err)
	err = f.Validate(context.Background())
	for _, kind := range []Type{F32, F16, Q4_0, Q4_1, Q5_0, Q8_0, Q4_K, Q6_K} {
		require.ErrorContains(t, err, `"bad.`+kind.String()+`"`)
	}
	require.NotContains(t, err.Error(), "fine")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, f.Validate(ctx), context.Canceled)
}

func TestFileOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.gguf")
	b := NewBuilder()
	b.Set("k", "v")
	b.Add("t", []int{2}, F32, []byte{0, 0, 128, 63, 0, 0, 0, 64})
	require.NoError(t, b.WriteFile(path))
	f, err := Open(path)
	require.NoError(t, err)
	require.Equal(t, path, f.Path())
	got := make([]float32, 2)
	f.Tensor("t").Floats(got)
	require.Equal(t, []float32{1, 2}, got)
	require.NoError(t, f.Validate(context.Background()))
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	digest, err := Digest(path)
	require.NoError(t, err)
	require.Len(t, digest, 64)
	_, err = Digest(path + ".none")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// FuzzParse: no file, however wrong, may panic or allocate beyond its size;
// what is read is read alike after it is written again.
func FuzzParse(f *testing.F) {
	f.Add(small(f))
	f.Add([]byte(head(2, 0).tensor("t", F32, 0, 4).tensor("u", Q8_0, 32, 32).body(128)))
	f.Add([]byte(head(0, 1).str("k").u32(kindArray).u32(kindString).u64(2).str("x").str("")))
	if golden, err := os.ReadFile("testdata/golden.gguf"); err == nil {
		f.Add(golden)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		b := NewBuilder()
		for _, key := range file.Keys() {
			v, _ := file.Value(key)
			if n, ok := file.Uint(key); ok && key == alignmentKey {
				v = uint32(n)
			}
			b.Set(key, v)
		}
		for _, tensor := range file.Tensors() {
			values := make([]float32, tensor.Elements())
			tensor.Floats(values)
			tensor.Row(tensor.Rows()-1, values)
			b.Add(tensor.Name, tensor.Shape, tensor.Type, tensor.Data)
		}
		_ = file.Validate(context.Background())
		_, _ = Fingerprint(file)
		var out bytes.Buffer
		if _, err := b.WriteTo(&out); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Parse(out.Bytes())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		for i, tensor := range file.Tensors() {
			if !bytes.Equal(tensor.Data, again.Tensors()[i].Data) {
				t.Fatalf("tensor %q changed", tensor.Name)
			}
		}
	})
}
