/* A console for one program, as a terminal's window gives it: what comes on stdin is typed, and what the console shows goes to
 * stdout as a terminal would be told of it. It draws nothing.
 *
 *   console WORDS…          the program and its arguments, as one command line
 *   console -- WORDS…       the same on the console that this process has; for `console` itself, which is its own child there
 *
 * It ends as the program does, or with 255 and the number of the error on stderr. */

#define _WIN32_WINNT 0x0a00
#define NTDDI_VERSION 0x0a000006
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#ifndef PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE
#define PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE 0x00020016
#endif

static const COORD size = { 80, 24 };

static void need(BOOL done, const char *what)
{
    if (done)
        return;
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    exit(255);
}

/* A process that Wine did not get to its first step is started again, see README.md. */
static void begin(wchar_t *line, BOOL inherits, DWORD flags, STARTUPINFOW *start, PROCESS_INFORMATION *child)
{
    BOOL done;
    do
        done = CreateProcessW(NULL, line, NULL, NULL, inherits, flags, NULL, NULL, start, child);
    while (!done && GetLastError() == ERROR_INTERNAL_ERROR);
    need(done, "CreateProcess");
}

/* Copies until either end has gone. */
static DWORD WINAPI copy(void *ends)
{
    HANDLE *from = ends, *to = from + 1;
    char bytes[4096];
    DWORD got, put;
    while (ReadFile(*from, bytes, sizeof bytes, &got, NULL) && got > 0)
        if (!WriteFile(*to, bytes, got, &put, NULL))
            break;
    CloseHandle(*to);
    return 0;
}

static DWORD end_of(const PROCESS_INFORMATION *child)
{
    DWORD status;
    need(WaitForSingleObject(child->hProcess, INFINITE) == WAIT_OBJECT_0, "WaitForSingleObject");
    need(GetExitCodeProcess(child->hProcess, &status), "GetExitCodeProcess");
    return status;
}

static HANDLE of_console(const wchar_t *name)
{
    SECURITY_ATTRIBUTES inherited = { sizeof inherited, NULL, TRUE };
    HANDLE handle = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, OPEN_EXISTING, 0, NULL);
    need(handle != INVALID_HANDLE_VALUE, "opening the console");
    return handle;
}

/* The program with the console as its stdin, stdout and stderr, whatever this process was born with. */
static DWORD inside(wchar_t *line)
{
    STARTUPINFOW start = { .cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES };
    PROCESS_INFORMATION child;
    start.hStdInput = of_console(L"CONIN$");
    start.hStdOutput = start.hStdError = of_console(L"CONOUT$");
    begin(line, TRUE, 0, &start, &child);
    /* Ctrl-C is for the program. */
    SetConsoleCtrlHandler(NULL, TRUE);
    return end_of(&child);
}

static DWORD outside(wchar_t *words)
{
    HANDLE typed[2] = { GetStdHandle(STD_INPUT_HANDLE) }, shown[2] = { NULL, GetStdHandle(STD_OUTPUT_HANDLE) }, keys, screen, showing;
    STARTUPINFOEXW start = { .StartupInfo = { .cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES } };
    PROCESS_INFORMATION child;
    SIZE_T room = 0;
    HPCON console;
    wchar_t self[MAX_PATH], line[8192];
    DWORD status;
    need(CreatePipe(&keys, &typed[1], NULL, 0) && CreatePipe(&shown[0], &screen, NULL, 0), "CreatePipe");
    need(SUCCEEDED(CreatePseudoConsole(size, keys, screen, 0, &console)), "CreatePseudoConsole");
    CloseHandle(keys);
    CloseHandle(screen);
    InitializeProcThreadAttributeList(NULL, 1, 0, &room);
    start.lpAttributeList = malloc(room);
    need(InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &room), "InitializeProcThreadAttributeList");
    need(UpdateProcThreadAttribute(start.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, console, sizeof console, NULL, NULL),
         "UpdateProcThreadAttribute");
    GetModuleFileNameW(NULL, self, MAX_PATH);
    need(_snwprintf(line, sizeof line / sizeof *line, L"\"%ls\" -- %ls", self, words) > 0, "the command line");
    begin(line, FALSE, EXTENDED_STARTUPINFO_PRESENT, &start.StartupInfo, &child);
    CreateThread(NULL, 0, copy, typed, 0, NULL);
    showing = CreateThread(NULL, 0, copy, shown, 0, NULL);
    status = end_of(&child);
    ClosePseudoConsole(console);
    WaitForSingleObject(showing, INFINITE);
    return status;
}

/* What follows the first word of a command line, which may be in quotes. */
static wchar_t *rest(wchar_t *line)
{
    line += *line == '"' ? wcscspn(line + 1, L"\"") + 2 : wcscspn(line, L" ");
    return line + wcsspn(line, L" ");
}

int wmain(void)
{
    wchar_t *line = rest(GetCommandLineW());
    ExitProcess(wcsncmp(line, L"-- ", 3) ? outside(line) : inside(rest(line)));
}
