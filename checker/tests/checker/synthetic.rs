//! The checker and the histories of `labrys-synthetic`, which are right or wrong by construction: neither knows the other.

use labrys_checker::verdict::Validity;
use labrys_checker::{CheckConfig, check};
use labrys_seed::Seed;
use labrys_synthetic::{Object, Recipe, Values};

/// Every small recipe on `object`, with keys or without.
fn recipes(object: Object, keys: usize) -> Vec<Recipe> {
    let mut recipes = Vec::new();
    for clients in [1, 2, 4, 7] {
        for crashed_per_mille in [0, 20, 100] {
            for violation_at_per_cent in [None, Some(50), Some(90)] {
                let operations = 150 + 100 * keys;
                recipes.push(Recipe {
                    object,
                    operations,
                    clients,
                    keys,
                    crashed_per_mille,
                    violation_at_per_cent,
                });
            }
        }
    }
    recipes
}

fn assert_judged_as_made(model: &str, recipes: &[Recipe]) {
    for recipe in recipes {
        for seed in 0..3 {
            let history = recipe.history(Seed(seed)).unwrap_or_else(|error| panic!("{recipe:?}: {error}"));
            let verdict = check(&history, &CheckConfig::linearizable(model, None).unwrap()).unwrap();
            let expected =
                if recipe.violation_at_per_cent.is_some() { Validity::Invalid } else { Validity::Valid };
            assert_eq!(verdict.validity, expected, "{recipe:?}, seed {seed}");
        }
    }
}

#[test]
fn registers_with_unique_values_are_judged_as_they_were_made() {
    let object = Object::Register { values: Values::Unique, has_cas: false };
    assert_judged_as_made("register", &recipes(object, 1));
    let object = Object::Register { values: Values::Unique, has_cas: true };
    assert_judged_as_made("cas-register", &recipes(object, 1));
}

#[test]
fn registers_with_few_values_are_judged_as_they_were_made() {
    let object = Object::Register { values: Values::Below(5), has_cas: true };
    assert_judged_as_made("cas-register", &recipes(object, 1));
    assert_judged_as_made("cas-register", &recipes(object, 3));
    let object = Object::Register { values: Values::Below(2), has_cas: false };
    assert_judged_as_made("register", &recipes(object, 1));
}

#[test]
fn queues_are_judged_as_they_were_made() {
    assert_judged_as_made("queue", &recipes(Object::Queue, 1));
}
