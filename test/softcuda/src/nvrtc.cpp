// libnvrtc: kernels compiled for the CPU by g++ (or $CXX), with checks of
// bounds, alignment, shifts and divisions. What was compiled is kept beside
// the library, by its content.
#include "soft.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern char **environ;

namespace {

enum { OK = 0, INVALID_INPUT = 3, INVALID_PROGRAM = 4, INVALID_OPTION = 5, COMPILATION = 6 };

struct Program {
	std::string source, name, log, image;
	std::vector<std::pair<std::string, std::string>> headers;
};

std::string own_folder() {
	Dl_info info;
	if (!dladdr((void *)own_folder, &info)) return ".";
	std::string path = info.dli_fname;
	return path.substr(0, path.rfind('/'));
}

std::string digest(const std::string &s) { // FNV-1a, twice
	uint64_t a = 14695981039346656037ull, b = 88172645463325252ull;
	for (unsigned char c : s) a = (a ^ c) * 1099511628211ull, b = (b ^ c) * 6364136223846793005ull + 1;
	char hex[40];
	snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
	return hex;
}

std::string read(const std::string &path) {
	std::ifstream f(path, std::ios::binary);
	std::stringstream s;
	s << f.rdbuf();
	return s.str();
}

bool write(const std::string &path, const std::string &text) {
	std::ofstream f(path, std::ios::binary);
	f << text;
	return (bool)f.flush();
}

// run runs the compiler in a folder; what it says goes to log.
int run(const std::vector<std::string> &args, const std::string &log) {
	std::vector<char *> argv;
	for (auto &a : args) argv.push_back((char *)a.c_str());
	argv.push_back(nullptr);
	posix_spawn_file_actions_t files;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&files, 2, 1);
	pid_t pid;
	int status = posix_spawnp(&pid, argv[0], &files, nullptr, argv.data(), environ);
	posix_spawn_file_actions_destroy(&files);
	if (status) return -1;
	if (waitpid(pid, &status, 0) < 0) return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct Token {
	std::string text;
	size_t at, end;
};

// tokens of C++ without comments; a line of the preprocessor's is none.
std::vector<Token> lex(const std::string &s) {
	std::vector<Token> out;
	for (size_t i = 0; i < s.size();) {
		size_t start = i;
		if (isspace((unsigned char)s[i])) {
			i++;
			continue;
		}
		if (s[i] == '#' && (i == 0 || s[i - 1] == '\n')) {
			while (i < s.size() && s[i] != '\n') i++;
			continue;
		}
		if (isalpha((unsigned char)s[i]) || s[i] == '_') {
			while (i < s.size() && (isalnum((unsigned char)s[i]) || s[i] == '_')) i++;
		} else if (s[i] == '"' || s[i] == '\'') {
			char quote = s[i++];
			while (i < s.size() && s[i] != quote) i += s[i] == '\\' ? 2 : 1;
			i++;
		} else {
			i++;
		}
		i = std::min(i, s.size());
		out.push_back({s.substr(start, i - start), start, i});
	}
	return out;
}

bool word(const std::string &s) { return isalpha((unsigned char)s[0]) || s[0] == '_'; }

// kernels are the names of the extern "C" functions that are __global__.
std::vector<std::string> kernels(const std::vector<Token> &t) {
	std::vector<std::string> names;
	std::vector<bool> c; // of each open brace: within extern "C"
	size_t statement = 0;
	for (size_t i = 0; i < t.size(); i++) {
		auto &x = t[i].text;
		if (x == "{") {
			bool opens = i >= 2 && t[i - 2].text == "extern" && t[i - 1].text == "\"C\"";
			c.push_back(opens || (!c.empty() && c.back()));
		}
		if (x == "}" && !c.empty()) c.pop_back();
		if (x == "{" || x == "}" || x == ";") statement = i + 1;
		if (x != "__global__") continue;
		bool named = !c.empty() && c.back();
		for (size_t j = statement; j < i; j++) named |= t[j].text == "\"C\"";
		for (size_t j = i + 1; j + 1 < t.size() && t[j].text != ";" && t[j].text != "{"; j++) {
			if (!word(t[j].text) || t[j + 1].text != "(") continue;
			if (t[j].text == "__launch_bounds__" || t[j].text == "__attribute__") {
				int depth = 0;
				do {
					j++;
					depth += t[j].text == "(" ? 1 : t[j].text == ")" ? -1 : 0;
				} while (depth > 0 && j + 1 < t.size());
				continue;
			}
			if (named) names.push_back(t[j].text);
			break;
		}
	}
	return names;
}

// rewrite gives `extern __shared__ T x[];` the block's dynamic memory, and lets
// no extern "C" stand, which is at odds with a namespace of the file's own.
std::string rewrite(const std::string &s, const std::vector<Token> &t) {
	std::string out;
	size_t done = 0;
	for (size_t i = 0; i + 1 < t.size(); i++) {
		if (t[i].text != "extern") continue;
		if (t[i + 1].text == "\"C\"") {
			out += s.substr(done, t[i].at - done);
			if (i + 2 < t.size() && t[i + 2].text == "{") out += "namespace soft_c ";
			done = t[i + 1].end;
			continue;
		}
		bool shared = false;
		size_t end = i;
		while (end < t.size() && t[end].text != ";") shared |= t[end++].text == "__shared__";
		if (!shared || end == t.size() || t[end - 1].text != "]" || t[end - 2].text != "[") continue;
		std::string type;
		for (size_t j = i + 1; j < end - 3; j++) {
			if (t[j].text == "__shared__") continue;
			if (t[j].text == "__align__" || t[j].text == "alignas" || t[j].text == "__attribute__") {
				int depth = 0;
				do {
					j++;
					depth += t[j].text == "(" ? 1 : t[j].text == ")" ? -1 : 0;
				} while (depth > 0);
				continue;
			}
			type += t[j].text + " ";
		}
		out += s.substr(done, t[i].at - done) + type + "* " + t[end - 3].text + " = (" + type + "*)soft_block->dynamic;";
		done = t[end].end;
		i = end;
	}
	return out + s.substr(done);
}

int compile(Program &p, const std::vector<std::string> &options) {
	std::string folder = own_folder(), kept = folder + "/kernels";
	mkdir(kept.c_str(), 0700);
	const char *cxx = getenv("CXX");
	std::string compiler = cxx && *cxx ? cxx : "g++";
	std::string key = p.source + '\0' + compiler + read(folder + "/device.h") + read(folder + "/soft.h");
	for (auto &h : p.headers) key += '\0' + h.first + '\0' + h.second;
	std::vector<std::string> flags{"-std=c++17"};
	for (auto &o : options) {
		if (o.rfind("-D", 0) == 0 || o.rfind("-I", 0) == 0 || o.rfind("-U", 0) == 0) flags.push_back(o);
		if (o.rfind("--define-macro=", 0) == 0) flags.push_back("-D" + o.substr(15));
	}
	for (auto &f : flags) key += '\0' + f;
	std::string library = kept + "/" + digest(key) + ".so";
	struct stat st;
	if (stat(library.c_str(), &st) == 0) {
		p.image = soft::magic + library;
		return OK;
	}
	char work_template[] = "/tmp/softcuda-XXXXXX";
	if (!mkdtemp(work_template)) {
		p.log = "no temporary folder";
		return COMPILATION;
	}
	std::string work = work_template;
	auto finish = [&](int status) {
		std::string said = read(work + "/log");
		if (!said.empty()) p.log = said;
		for (auto &h : p.headers) unlink((work + "/" + h.first).c_str());
		for (auto *f : {"/source.cpp", "/flat.cpp", "/kernels.cpp", "/kernels.o", "/log"}) unlink((work + f).c_str());
		rmdir(work.c_str());
		return status;
	};
	for (auto &h : p.headers) write(work + "/" + h.first, h.second);
	write(work + "/source.cpp", "# 1 \"" + p.name + "\"\n" + p.source);
	// First the preprocessor alone, so that kernels made by macros are seen. It
	// knows no system headers, as NVRTC does not.
	std::vector<std::string> args{compiler, "-E", "-nostdinc", "-I", work, "-D__SOFTCUDA__", "-D__CUDACC__", "-D__CUDACC_RTC__", "-U__linux__"};
	args.insert(args.end(), flags.begin(), flags.end());
	args.insert(args.end(), {"-o", work + "/flat.cpp", work + "/source.cpp"});
	if (run(args, work + "/log")) return finish(COMPILATION);
	std::string flat = read(work + "/flat.cpp");
	auto tokens = lex(flat);
	auto names = kernels(tokens);
	std::string code = "#include \"device.h\"\nnamespace {\n" + rewrite(flat, tokens) + "\nnamespace soft_c {}\nusing namespace soft_c;\n# 1 \"soft CUDA\"\n";
	code += "__attribute__((section(\"soft_shared\"), used)) static unsigned char soft_some[16];\n";
	// Within the namespace, where a kernel's name hides a function of C's.
	code += "static const soft::Kernel soft_kernels[] = {\n";
	for (auto &n : names) code += "{\"" + n + "\", SoftKernel<" + n + ">::call, SoftKernel<" + n + ">::sizes, SoftKernel<" + n + ">::parameters},\n";
	code += "{nullptr, nullptr, nullptr, 0}};\n}\n";
	code += "extern \"C\" const soft::Module soft_module{&soft_block, soft_kernels, " + std::to_string(names.size()) + ", __start_soft_shared, __stop_soft_shared};\n";
	write(work + "/kernels.cpp", code);
	args = {compiler, "-c", "-O2", "-fPIC", "-fno-exceptions", "-fno-strict-aliasing", "-fwrapv", "-fno-math-errno", "-w", "-fvisibility=default",
		"-fsanitize=bounds-strict,alignment,shift-exponent,integer-divide-by-zero", "-fno-sanitize-recover=all", "-I", folder};
	args.insert(args.end(), flags.begin(), flags.end());
	args.insert(args.end(), {"-o", work + "/kernels.o", work + "/kernels.cpp"});
	if (run(args, work + "/log")) return finish(COMPILATION);
	std::string fresh = library + "." + std::to_string(getpid());
	if (run({compiler, "-shared", "-Wl,-z,defs", "-o", fresh, work + "/kernels.o", "-lm"}, work + "/log")) return finish(COMPILATION);
	if (rename(fresh.c_str(), library.c_str())) return finish(COMPILATION);
	p.image = soft::magic + library;
	return finish(OK);
}

} // namespace

extern "C" {

const char *nvrtcGetErrorString(int status) {
	switch (status) {
	case OK: return "NVRTC_SUCCESS";
	case COMPILATION: return "NVRTC_ERROR_COMPILATION";
	case INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
	case INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
	case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
	}
	return "NVRTC_ERROR unknown";
}
int nvrtcCreateProgram(void **program, const char *source, const char *name, int n, const char *const *headers, const char *const *names) {
	auto *p = new Program{source, name && *name ? name : "default_program", "", "", {}};
	for (int i = 0; i < n; i++) {
		if (strchr(names[i], '/')) return INVALID_INPUT;
		p->headers.push_back({names[i], headers[i]});
	}
	*program = p;
	return OK;
}
int nvrtcDestroyProgram(void **program) {
	delete (Program *)*program;
	*program = nullptr;
	return OK;
}
int nvrtcCompileProgram(void *program, int n, const char *const *options) {
	for (int i = 0; i < n; i++)
		if (options[i][0] != '-') return INVALID_OPTION;
	return compile(*(Program *)program, std::vector<std::string>(options, options + n));
}
int nvrtcGetProgramLogSize(void *program, size_t *n) {
	*n = ((Program *)program)->log.size() + 1;
	return OK;
}
int nvrtcGetProgramLog(void *program, char *log) {
	strcpy(log, ((Program *)program)->log.c_str());
	return OK;
}
int nvrtcGetCUBINSize(void *program, size_t *n) {
	auto &image = ((Program *)program)->image;
	*n = image.empty() ? 0 : image.size() + 1;
	return OK;
}
int nvrtcGetCUBIN(void *program, char *image) {
	strcpy(image, ((Program *)program)->image.c_str());
	return OK;
}

} // extern "C"
