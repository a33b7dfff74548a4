/** One component of a tokenizer.json: its `type` says by which of these schemas it is read. */
import * as z from "zod";

/**
 * A schema for objects whose `type` names one of `kinds`. The library's components for the same names are not used: many give other
 * results than the reference (shared/vectors/README.md). A type that is not named here is refused, with what could stand in its place.
 */
export function kindsOf<Output>(component: string, kinds: Readonly<Record<string, z.ZodType<Output>>>): z.ZodType<Output> {
  return z
    .looseObject({ type: z.string({ error: `the ${component} has no type` }) }, { error: `the ${component} must be an object` })
    .transform((config, context) => {
      const kind = Object.hasOwn(kinds, config.type) ? kinds[config.type] : undefined;
      if (kind === undefined) {
        const known = Object.keys(kinds).join(", ");
        const named = `the ${component} ${JSON.stringify(config.type.slice(0, 40))}`;
        const message = `${named} is not supported (supported: ${known}); use another tokenizer`;
        context.issues.push({ code: "custom", input: config, path: ["type"], message });
        return z.NEVER;
      }
      const parsed = kind.safeParse(config);
      if (parsed.success) return parsed.data;
      for (const { path, message } of parsed.error.issues) context.issues.push({ code: "custom", input: config, path: [...path], message });
      return z.NEVER;
    });
}
