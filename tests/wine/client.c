/* A plain Windows program at a pipe of usbpipe: WaitNamedPipe, CreateFile, ReadFile, WriteFile, and nothing else.
 *
 *   client read PIPE BYTES       copies so many bytes to stdout
 *   client messages PIPE COUNT   prints the length of what each of so many reads gives, in message mode
 *   client write PIPE            copies stdin to the pipe
 *   client ask PIPE TEXT         writes TEXT and a line feed, and prints the line that comes back
 *   client interrupt PROCESS     types Ctrl-C in the console of a process
 *   client close PROCESS         closes the window of that console, as far as the process is told of it
 *   client words WORD…           prints each word as it was understood, on a line of its own
 *   client linger STATUS         prints a line and waits for Ctrl-C, prints that it came, and ends with this status
 *   client leak HANDLE           writes a line to the handle of this number, if it has one
 *   client stubborn WORD         prints its number and heeds neither Ctrl-C nor Ctrl-Break
 *   client logger FILE           asks what is on its stdout `PING` and its number, and writes what comes on stdin to a file
 *
 * It ends with 0, or with 1 and the number of the error on stderr. It waits in WaitNamedPipe alone: ERROR_PIPE_BUSY is fatal. */

#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

static char buffer[65536];

static int failed(const char *what)
{
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    return 1;
}

static HANDLE opened(const wchar_t *pipe, DWORD access)
{
    if (!WaitNamedPipeW(pipe, 20000))
        return INVALID_HANDLE_VALUE;
    return CreateFileW(pipe, access, 0, NULL, OPEN_EXISTING, 0, NULL);
}

static int put(HANDLE to, const char *bytes, DWORD count)
{
    while (count > 0) {
        DWORD written;
        if (!WriteFile(to, bytes, count, &written, NULL))
            return failed("WriteFile");
        bytes += written;
        count -= written;
    }
    return 0;
}

static int copy_from(HANDLE pipe, unsigned long long left)
{
    while (left > 0) {
        DWORD got, most = left < sizeof buffer ? (DWORD)left : sizeof buffer;
        if (!ReadFile(pipe, buffer, most, &got, NULL))
            return failed("ReadFile");
        if (put(GetStdHandle(STD_OUTPUT_HANDLE), buffer, got))
            return 1;
        left -= got;
    }
    return 0;
}

static int copy_to(HANDLE pipe)
{
    DWORD got;
    while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), buffer, sizeof buffer, &got, NULL) && got > 0)
        if (put(pipe, buffer, got))
            return 1;
    return 0;
}

static int messages(HANDLE pipe, unsigned long long count)
{
    DWORD got, mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe, &mode, NULL, NULL))
        return failed("SetNamedPipeHandleState");
    while (count-- > 0) {
        if (!ReadFile(pipe, buffer, sizeof buffer, &got, NULL))
            return failed("ReadFile");
        printf("%lu\n", got);
    }
    return 0;
}

static int ask(HANDLE pipe, const wchar_t *text)
{
    int length = snprintf(buffer, sizeof buffer, "%ls\n", text);
    DWORD got = 1;
    if (put(pipe, buffer, (DWORD)length))
        return 1;
    do {
        if (!ReadFile(pipe, buffer, 1, &got, NULL))
            return failed("ReadFile");
        if (put(GetStdHandle(STD_OUTPUT_HANDLE), buffer, got))
            return 1;
    } while (got == 0 || buffer[0] != '\n');
    return 0;
}

/* Ctrl-C on the console of another program. This one is on it for that long, and would not outlive its own Ctrl-C. */
static int interrupt(DWORD pid)
{
    FreeConsole();
    if (!AttachConsole(pid))
        return failed("AttachConsole");
    if (!SetConsoleCtrlHandler(NULL, TRUE) || !GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0))
        return failed("GenerateConsoleCtrlEvent");
    return 0;
}

/* What Windows does in a program whose console is closed: a thread of it begins there. */
static int close_console(DWORD pid)
{
    HANDLE process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, pid);
    FARPROC begin = GetProcAddress(GetModuleHandleW(L"kernelbase"), "CtrlRoutine");
    if (!process || !begin)
        return failed("OpenProcess");
    if (!CreateRemoteThread(process, NULL, 0, (LPTHREAD_START_ROUTINE)(void *)begin, (void *)CTRL_CLOSE_EVENT, 0, NULL))
        return failed("CreateRemoteThread");
    return 0;
}

static int print_words(wchar_t **words)
{
    for (; *words; words++) {
        int length = WideCharToMultiByte(CP_UTF8, 0, *words, -1, buffer, sizeof buffer - 1, NULL, NULL);
        buffer[length - 1] = '\n';
        if (put(GetStdHandle(STD_OUTPUT_HANDLE), buffer, (DWORD)length))
            return 1;
    }
    return 0;
}

static HANDLE interrupted;

static BOOL WINAPI note_interrupt(DWORD event)
{
    return event == CTRL_C_EVENT && SetEvent(interrupted);
}

static int linger(int status)
{
    interrupted = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (!SetConsoleCtrlHandler(note_interrupt, TRUE))
        return failed("SetConsoleCtrlHandler");
    fputs("lingering\n", stderr);
    WaitForSingleObject(interrupted, INFINITE);
    fputs("Ctrl-C came\n", stderr);
    return status;
}

static BOOL WINAPI heed_nothing(DWORD event)
{
    (void)event;
    return TRUE;
}

static int stubborn(void)
{
    if (!SetConsoleCtrlHandler(heed_nothing, TRUE))
        return failed("SetConsoleCtrlHandler");
    fprintf(stderr, "stubborn %lu\n", GetCurrentProcessId());
    Sleep(INFINITE);
    return 0;
}

static int logger(const wchar_t *file)
{
    FILE *heard = _wfopen(file, L"ab");
    int length = snprintf(buffer, sizeof buffer, "PING %lu\n", GetCurrentProcessId());
    DWORD got;
    if (!heard)
        return failed("opening the file");
    if (put(GetStdHandle(STD_OUTPUT_HANDLE), buffer, (DWORD)length))
        return 1;
    fputs("logging\n", stderr);
    while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), buffer, sizeof buffer, &got, NULL) && got > 0) {
        fwrite(buffer, 1, got, heard);
        fflush(heard);
    }
    fputs("end of file\n", stderr);
    return 0;
}

int wmain(int count, wchar_t **words)
{
    const wchar_t *verb = count > 1 ? words[1] : L"", *what = count > 3 ? words[3] : L"";
    int is_write = !wcscmp(verb, L"write"), is_ask = !wcscmp(verb, L"ask"), status = 2;
    HANDLE pipe;
    /* Whoever started this waits for what it says. */
    setvbuf(stderr, NULL, _IONBF, 0);
    if (count < 3) {
        fputs("usage: client VERB WHAT; see its source\n", stderr);
        return 2;
    }
    if (!wcscmp(verb, L"interrupt"))
        return interrupt(wcstoul(words[2], NULL, 10));
    if (!wcscmp(verb, L"close"))
        return close_console(wcstoul(words[2], NULL, 10));
    if (!wcscmp(verb, L"words"))
        return print_words(words + 2);
    if (!wcscmp(verb, L"linger"))
        return linger((int)wcstol(words[2], NULL, 10));
    if (!wcscmp(verb, L"leak"))
        return put((HANDLE)(ULONG_PTR)_wcstoui64(words[2], NULL, 10), "leaked\n", 7);
    if (!wcscmp(verb, L"stubborn"))
        return stubborn();
    if (!wcscmp(verb, L"logger"))
        return logger(words[2]);
    /* Message mode is set by FILE_WRITE_ATTRIBUTES, which GENERIC_READ alone does not give. */
    pipe = opened(words[2], is_ask ? GENERIC_READ | GENERIC_WRITE : is_write ? GENERIC_WRITE : GENERIC_READ | FILE_WRITE_ATTRIBUTES);
    if (pipe == INVALID_HANDLE_VALUE)
        return failed("opening");
    if (!wcscmp(verb, L"read"))
        status = copy_from(pipe, wcstoull(what, NULL, 10));
    else if (!wcscmp(verb, L"messages"))
        status = messages(pipe, wcstoull(what, NULL, 10));
    else if (is_write)
        status = copy_to(pipe);
    else if (is_ask)
        status = ask(pipe, what);
    CloseHandle(pipe);
    return status;
}
