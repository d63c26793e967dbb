// The simulated `uno` on a real board: the same lines, the same answers. It refuses to guess at damaged input.
//
//   PING x              PONG x
//   LED ON, LED OFF     the same, and the LED on pin 13 does it
//   SUM a b …           SUM n            64 bit, wrapping; ERR not a number: a
//   STATUS              STATUS led=on|off baud=N dtr=0 resets=N
//   anything else       ERR unknown: …
//   over 256 bytes      ERR line too long
//   lost bytes          ERR input lost   once, for all the lines up to the first that begins after the gap
//
// It prints READY when it has started. 9600 8N1, or what BAUD says here; the host must be told the same. What a board
// cannot know: DTR ends at its reset pin, so dtr is always 0, and baud is the speed of its own UART.
//
// A UART cannot tell the host to wait. So bytes are taken whenever there are any, and answers wait in a queue until the
// UART has room. Only when so many answers wait that the next might not fit is the input left alone, and what the
// core's buffer (64 bytes) cannot hold then is lost. This is noticed: no line that lacks something is obeyed.

#ifndef BAUD
#define BAUD 9600
#endif

const int LINE_LIMIT = 256;
const int ANSWER_LIMIT = LINE_LIMIT + 32; // a whole line, and a word before it
const int QUEUE = 512;
const int INPUT_FULL = SERIAL_RX_BUFFER_SIZE - 1; // the core's ring holds one byte less

// The line being received. Over LINE_LIMIT it is only counted, up to one more.
char line[LINE_LIMIT + 1];
int length = 0;
bool lost = false; // bytes before it or of it

// Answers that wait, as a ring.
char queue[QUEUE];
int first = 0;
int waiting = 0;

// Survives the reset pin, but not the loss of power: the C library leaves .noinit as it finds it. The two others tell
// a count from what memory holds by chance at power-up.
struct Resets {
  uint32_t count, inverse, mark;
} resets __attribute__((section(".noinit")));
const uint32_t MARK = 0x756e6f31;

void setup() {
  count_reset();
  pinMode(LED_BUILTIN, OUTPUT);
  digitalWrite(LED_BUILTIN, LOW);
  Serial.begin(BAUD);
  delay(100);
  say("READY\n");
}

void loop() {
  send();
  receive();
}

void count_reset() {
  bool known = resets.mark == MARK && resets.inverse == ~resets.count;
  resets.count = known ? resets.count + 1 : 0;
  resets.inverse = ~resets.count;
  resets.mark = MARK;
}

// Hands the UART what it takes without waiting.
void send() {
  while (waiting > 0 && Serial.availableForWrite() > 0) {
    Serial.write(queue[first]);
    first = (first + 1) % QUEUE;
    waiting--;
  }
}

// Takes what has come, as long as any answer to it will fit.
void receive() {
  if (Serial.available() >= INPUT_FULL) lose();
  while (QUEUE - waiting >= ANSWER_LIMIT && Serial.available() > 0) take(Serial.read());
}

// Where in the full buffer the gap is nobody knows: nothing in it counts, nor does what ends the line that comes next.
void lose() {
  while (Serial.available() > 0) Serial.read();
  lost = true;
}

void take(char c) {
  if (c != '\n') {
    if (length < LINE_LIMIT) line[length] = c;
    if (length <= LINE_LIMIT) length++;
    return;
  }
  answer();
  say("\n");
  length = 0;
  lost = false;
}

void answer() {
  if (lost) {
    say("ERR input lost");
  } else if (length > LINE_LIMIT) {
    say("ERR line too long");
  } else {
    if (length > 0 && line[length - 1] == '\r') length--;
    line[length] = 0;
    obey();
  }
}

void obey() {
  if (is("LED ON") || is("LED OFF")) {
    digitalWrite(LED_BUILTIN, is("LED ON") ? HIGH : LOW);
    say(line);
  } else if (is("STATUS")) {
    status();
  } else if (char *rest = after("PING")) {
    say("PONG");
    say(rest, line + length - rest);
  } else if (char *rest = after("SUM")) {
    sum(rest);
  } else {
    say("ERR unknown: ");
    say_printable(line, length);
  }
}

bool is(const char *text) {
  return length == (int)strlen(text) && memcmp(line, text, length) == 0;
}

// What follows this word in the line: its end, or a blank and more.
char *after(const char *word) {
  int n = strlen(word);
  bool begins = length >= n && memcmp(line, word, n) == 0 && (length == n || line[n] == ' ');
  return begins ? line + n : NULL;
}

void status() {
  char text[80];
  const char *led = digitalRead(LED_BUILTIN) ? "on" : "off";
  snprintf(text, sizeof text, "STATUS led=%s baud=%lu dtr=0 resets=%lu", led, (unsigned long)BAUD, resets.count);
  say(text);
}

void sum(const char *words) {
  uint64_t total = 0;
  const char *end = line + length;
  while (words < end) {
    const char *word = words;
    while (words < end && !is_blank(*words)) words++;
    uint64_t number;
    if (word < words && !parse(word, words, &number)) {
      say("ERR not a number: ");
      say_printable(word, words - word);
      return;
    }
    if (word < words) total += number;
    words++;
  }
  say("SUM ");
  say_number(total);
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\f' || c == '\r';
}

// A decimal number of 64 bits, with a sign or without.
bool parse(const char *text, const char *end, uint64_t *number) {
  bool negative = *text == '-';
  if (*text == '-' || *text == '+') text++;
  if (text == end) return false;
  uint64_t magnitude = 0;
  for (; text < end; text++) {
    if (*text < '0' || *text > '9') return false;
    if (magnitude > INT64_MAX / 10) return false;
    magnitude = magnitude * 10 + (*text - '0');
    if (magnitude > (uint64_t)INT64_MAX + negative) return false;
  }
  *number = negative ? -magnitude : magnitude;
  return true;
}

// The C library of AVRs prints 32 bits at most.
void say_number(uint64_t number) {
  char text[20];
  int at = sizeof text;
  bool negative = (int64_t)number < 0;
  if (negative) number = -number;
  do {
    text[--at] = '0' + number % 10;
    number /= 10;
  } while (number > 0);
  if (negative) text[--at] = '-';
  say(text + at, sizeof text - at);
}

// What a terminal can show; anything else becomes a question mark.
void say_printable(const char *text, int n) {
  for (int i = 0; i < n; i++) {
    char c = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    say(&c, 1);
  }
}

void say(const char *text) {
  say(text, strlen(text));
}

// The callers have left room: what does not fit is cut.
void say(const char *text, int n) {
  for (int i = 0; i < n && waiting < QUEUE; i++) {
    queue[(first + waiting) % QUEUE] = text[i];
    waiting++;
  }
}
