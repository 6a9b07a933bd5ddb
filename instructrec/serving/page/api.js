/** The server's routes, and its answers in the form that the page draws. */

const DEADLINE_MS = 60_000;
const TOLD = 0.05; // Nats above the average item from which an effect is told.
const SHOWN = 0.005; // Nats from which a number is shown.
// What is asked of a list, or moves items alone, no item meets by itself.
const OF_LISTS = new Set(["like", "at_most", "places"]);
const FOUND = 12; // Items that a search shows.

/** The parts of a request, in words. */
const PARTS = {
  history: (title) => `the history: “${title}”`,
  words: (words) =>
    `the ${words.includes(" ") ? "words" : "word"} “${words}”`,
  refused: (words) => `refusing “${words}”`,
  wish: () => "the wish as a whole",
};

/** The parts of a score, in words. */
const SCORE_PARTS = {
  match: "how it fits the history and the wish",
  plain: "how it fits the history alone",
  popularity: "how often it was taken",
  wanted: "what it has of the wish",
  unwanted: "what it has that was refused",
  unread: "a wish that was not understood",
  likelihood: "how likely its title is here",
  prior: "how likely its title is anywhere",
};

/** What went wrong, in words for whoever reads the page. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 where no server answered.
   * @param {?number} wait seconds after which the server wants to be asked
   *   again.
   */
  constructor(message, status, wait = null) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

export class Api {
  /** @param {function(boolean): void} reached is told whether one answered. */
  constructor(reached) {
    this._reached = reached;
    this.key = null; // In memory alone: gone with the page.
  }

  info() {
    return this._fetch("info");
  }

  async models() {
    return (await this._fetch("v1/models")).data.map(({ id }) => id);
  }

  /** Whether the server takes requests. */
  async ready() {
    try {
      await this._fetch("readyz");
      return true;
    } catch (error) {
      if (error instanceof ApiError) return false;
      throw error;
    }
  }

  /**
   * Items whose titles have the words of a query.
   * @param {string} query "" for the catalogue in its order.
   * @param {?AbortSignal} signal
   * @param {number} limit
   * @returns {Promise<{items: Array, total: number}>}
   */
  async items(query, signal = null, limit = FOUND) {
    const asked = new URLSearchParams({ query, limit });
    const { data, total } = await this._fetch(`v1/items?${asked}`, { signal });
    const items = data.map((item) => ({ ...item, about: about(item.attributes) }));
    return { items, total };
  }

  /**
   * Ranks for a history and a conversation.
   * @param {Array<{id: string}>} history oldest first.
   * @param {Array<{role: string, content: string}>} messages may be empty.
   * @param {Object} settings of the shelf.
   * @param {?string} model
   * @param {AbortSignal} signal
   */
  async recommend(history, messages, settings, model, signal) {
    const body = {
      model,
      history: history.map(({ id }) => `id:${id}`),
      k: settings.count,
      reasons: true,
      filters: {
        exclude: settings.excluded.map((id) => `id:${id}`),
        ...(settings.category && { category: [settings.category] }),
        ...(settings.highestPrice !== null && {
          price_max: settings.highestPrice,
        }),
        ...(settings.inStock && { in_stock: true }),
      },
    };
    if (messages.length === 0) {
      return ranking(
        await this._fetch("v1/recommendations", { body, signal }),
        0,
        "",
      );
    }
    const answer = await this._fetch("v1/chat/completions", {
      body: { ...body, messages },
      signal,
    });
    return ranking(
      answer.recommendation,
      messages.filter(({ role }) => role === "user").length,
      answer.choices[0].message.content,
    );
  }

  async _fetch(path, { body = null, signal = null } = {}) {
    const limits = [AbortSignal.timeout(DEADLINE_MS), ...(signal ? [signal] : [])];
    let response;
    try {
      response = await fetch(path, {
        method: body ? "POST" : "GET",
        headers: {
          ...(body && { "Content-Type": "application/json" }),
          ...(this.key && { Authorization: `Bearer ${this.key}` }),
        },
        body: body && JSON.stringify(body),
        signal: AbortSignal.any(limits),
        cache: "no-store",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      this._reached(false);
      throw new ApiError("The server does not answer.", 0);
    }
    this._reached(true);
    const answer = await json(response);
    if (!response.ok) throw refusal(response, answer);
    return answer;
  }
}

async function json(response) {
  try {
    return await response.json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return null;
  }
}

function refusal(response, answer) {
  const said = answer?.error?.message ?? `The server said ${response.status}.`;
  const found = answer?.id ? `${said} (${answer.id})` : said;
  const wait = Number(response.headers.get("Retry-After"));
  return new ApiError(
    response.status === 500 ? found : said,
    response.status,
    wait > 0 ? wait : null,
  );
}

function ranking({ results, understood, meta }, turns, content) {
  return {
    items: results.map((place) => ({
      id: place.id,
      title: place.title,
      score: place.score,
      about: about(place.attributes),
      why: why(place.reasons, place.parts),
    })),
    understood: understood && reading(understood, turns),
    warnings: meta.warnings,
    total: meta.num_candidates,
    milliseconds: meta.milliseconds,
    content,
  };
}

/**
 * Why an item is where it is, as lines with a number each, and in short. What an
 * effect is worth is said against the average item; what binds all items is no
 * reason for one of them, and stands among the lines alone.
 */
function why({ effects = [], constraints = [] } = {}, parts = {}) {
  const wanted = constraints
    .filter(({ kind, meets }) => kind === "wanted" && meets)
    .map(({ text }) => text);
  const raised = effects
    .filter(({ part }) => part === "history" || part === "words")
    .filter((one) => one.above_average >= TOLD)
    .map(({ words }) => words)
    .filter((words) => !wanted.some((text) => sameName(text, words)));
  const signs = new Map([
    [true, "✓"],
    [false, "✗ not"],
    [null, "? not known:"],
  ]);
  return {
    short: [
      ...wanted.map((text) => `✓ ${text}`),
      ...raised.slice(0, 2).map((words) => `“${words}”`),
    ],
    effects: effects
      .map(({ part, words, above_average: value }) => ({
        words: PARTS[part](words),
        value,
      }))
      .filter(isShown),
    meets: constraints
      .filter(({ kind }) => !OF_LISTS.has(kind))
      .map(({ text, meets }) => ({
        words: `${signs.get(meets)} ${text}`,
        value: null,
      })),
    parts: Object.entries(parts)
      .map(([name, value]) => ({ words: SCORE_PARTS[name] ?? name, value }))
      .filter(isShown),
  };
}

function isShown({ value }) {
  return Math.abs(value) >= SHOWN;
}

/** Whether two names are one in singular and plural. */
function sameName(one, other) {
  const [short, long] = [one, other]
    .map((name) => name.toLowerCase())
    .sort((a, b) => a.length - b.length);
  return long.startsWith(short) && long.length <= short.length + 2;
}

/**
 * What was understood: constraints with the turns that said them. What went and
 * what was not understood is that of the last turn.
 */
function reading(understood, last) {
  const { text, constraints, not_understood: unclear } = understood;
  return {
    text,
    kept: constraints.filter(({ status }) => status !== "dropped").map(chip),
    dropped: constraints
      .filter((one) => one.status === "dropped" && one.dropped_in_turn === last)
      .map(chip),
    unclear: unclear
      // Those of which it is known why are among the warnings.
      .filter(({ turn, why }) => turn === last && !why)
      .map(({ words }) => `“${words}”`),
  };
}

function chip({ text, kind, attribute, turn, words }) {
  const bounded = /^(?:(?:max|min)_)?(price|year)$/.exec(kind)?.[1];
  return {
    text,
    against: kind === "unwanted" || kind === "excluded",
    turn: turn ?? null,
    words: words ?? null,
    // What says that it is not asked for any more; null where no sentence does.
    takeBack: bounded
      ? `Any ${bounded}.`
      : attribute
        ? `Forget about ${attribute.name}.`
        : null,
  };
}

/** What the catalogue says of an item, as short pieces of text. */
function about({ categories, brand, price, year } = {}) {
  return [
    categories?.at(-1),
    brand,
    price?.toLocaleString("en", { minimumFractionDigits: 2 }),
    year?.toString(),
  ].filter(Boolean);
}
